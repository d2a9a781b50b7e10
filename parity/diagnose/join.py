"""One fault is one finding: what was declared differently carries what diverges by it as its evidence."""

from __future__ import annotations

from parity.document import STAGES, Cause, Finding

_NUMERIC = ("forward", "loss", "backward", "optimizer", "metrics")
_RANK = {stage: number for number, stage in enumerate(STAGES)}


def joined(declared: list[Finding], measured: list[Finding]) -> list[Finding]:
    """Folds measured divergences into the declared differences at the same layers.

    A declared difference at a layer, a loss or an optimizer where something diverges becomes a fault, takes over the
    numbers, and the measured finding goes. One whose place was judged and agrees keeps the severity it came with.

    Args:
        declared: Findings of the stages before `forward`: arguments, structure.
        measured: Findings of the forced run.
    """
    left = list(measured)
    for finding in declared:
        echo = next((f for f in left if _same(finding, f)), None)
        if echo is None:
            continue
        left.remove(echo)
        finding.severity, finding.status = "fault", "introduced"
        finding.step, finding.op = echo.step, finding.op or echo.op
        finding.error, finding.floor, finding.ratio = echo.error, echo.floor, echo.ratio
        if finding.cause is None:
            finding.cause = Cause(finding.message, 0.9)
        finding.cause.evidence = "; ".join(filter(None, (finding.cause.evidence, echo.message)))
    return declared + left


def _same(declared: Finding, measured: Finding) -> bool:
    if declared.stage == "initialization":
        return False  # what was measured started from the reference's weights
    if measured.stage not in _NUMERIC or measured.severity == "note" or measured.status == "propagated":
        return False
    if _RANK[measured.stage] < _RANK[declared.stage] or declared.candidate is None or measured.candidate is None:
        return False
    return bool(declared.candidate.path) and declared.candidate.path == measured.candidate.path
