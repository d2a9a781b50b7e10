"""One fault is one finding: what was declared differently carries what diverges by it as its evidence."""

from __future__ import annotations

from collections import defaultdict

from parity.diagnose.stage import HINT, Claim, Result
from parity.document import STAGES, Cause, Finding

_NUMERIC = ("structure", "forward", "loss", "backward", "optimizer", "metrics")
_RANK = {stage: number for number, stage in enumerate(STAGES)}

_DECLARING = ("environment", "hyperparameters", "structure")
"""Stages whose findings can be why something diverges: initial values and batches are the reference's own."""

_STATISTICS = {"norm-momentum"}
"""Kinds that show in running statistics only; all others show anywhere."""

_RATES = {"learning-rate", "lr-schedule", "no-update"}
"""Kinds that are one and the same over few steps."""

_RUNNING = _STATISTICS | {"use-batch-statistics", "track-running-stats"}
"""Kinds that explain a layer's running statistics."""

_OWNED = ("bias", "affine", "elementwise-affine", "num-layers", "bidirectional", "add-bias-kv", "num-parameters")
_PARAMETERS = {"parameter-missing": _OWNED, "parameter-extra": _OWNED}
"""Findings of structure that a declared difference explains: it decides which parameters a layer has."""


_MODES = ("eval-mode", "train-mode")
_MODED = ("dropout", "batch_norm", "batchnorm")
"""Ops that compute something else in training, wherever they stand."""


def joined(
    results: list[Result], measured: list[Finding], behind: dict[int, set[str]] | None = None
) -> tuple[list[Finding], list[Finding]]:
    """Folds measured divergences into the declared differences at the same layers.

    A declared difference at a layer, a loss or an optimizer where something diverges becomes a fault, takes over the
    numbers, and the measured finding goes. One whose place was judged and agrees keeps the severity it came with; of
    these, equal ones at several layers become one.

    Args:
        results: The stages before `forward`: arguments, structure.
        measured: Findings of the forced run.
        behind: For some of them, by `id`, the reference's layers that a diverging gradient came through.

    Returns:
        What is left of both, and the measured ones that went.
    """
    declared = _reshaped([f for result in results for f in result.findings])
    claims = {id(result.findings[n]): claim for result in results for n, claim in result.claims.items()}
    echoes = {
        id(f): [
            m for m in measured
            if _same(f, m) or _claimed(claims.get(id(f)), m) or _through(f, (behind or {}).get(id(m), set()))
        ]
        for f in declared
    }  # fmt: skip
    gone = {id(m) for found in echoes.values() for m in found}
    declared = [f for f in declared if echoes[id(f)] or f.severity != HINT]
    for finding in declared:
        if echoes[id(finding)]:
            _take_over(finding, echoes[id(finding)])
    left = [m for m in measured if id(m) not in gone]
    return _grouped(declared) + left, [m for m in measured if id(m) in gone]


_SHAPES = frozenset(
    ["bidirectional", "groups", "hidden-size", "in-channels", "in-features", "input-size", "num-layers"]
)
"""Kinds by which a layer's parameters get another shape, and so start from another scale or stand for other ones."""


def _reshaped(declared: list[Finding]) -> list[Finding]:
    """Without initial values that differ because their layer has other parameters."""
    owners = {f.candidate.path for f in declared if f.kind in _SHAPES and f.candidate is not None}
    return [
        f for f in declared
        if f.stage != "initialization" or f.candidate is None or f.candidate.path.rpartition(".")[0] not in owners
    ]  # fmt: skip


def _take_over(finding: Finding, echoes: list[Finding]) -> None:
    worst = next((e for e in echoes if e.severity == "fault"), echoes[0])
    if worst.severity == "fault" or finding.severity == HINT:
        finding.severity, finding.status = "fault", "introduced"
    finding.step = worst.step
    finding.reference = finding.reference or worst.reference
    finding.candidate = finding.candidate or worst.candidate
    finding.error, finding.floor, finding.ratio = worst.error, worst.floor, worst.ratio
    if finding.cause is None:
        finding.cause = Cause(finding.message, 0.9)
    finding.cause.evidence = "; ".join(filter(None, (finding.cause.evidence, *(e.message for e in echoes[:2]))))


def _through(declared: Finding, layers: set[str]) -> bool:
    """Whether a gradient came through a layer that was declared differently."""
    place = declared.reference
    numeric = declared.stage == "hyperparameters" and declared.kind not in _STATISTICS
    return numeric and place is not None and place.path in layers


def _claimed(claim: Claim | None, measured: Finding) -> bool:
    """Whether a divergence lies at or in one of the layers that a finding speaks for."""
    if claim is None or measured.severity == "note":
        return False
    if measured.stage in claim.stages or measured.kind in claim.kinds:
        return True
    for place, paths in ((measured.reference, claim.reference), (measured.candidate, claim.candidate)):
        words = place.path.split(".") if place is not None else []
        if any(".".join(words[: n + 1]) in paths for n in range(len(words))):
            return True
    return False


def _same(declared: Finding, measured: Finding) -> bool:
    if declared.stage not in _DECLARING or (declared.severity == "warning" and declared.status is None):
        return False  # known to be without consequence
    if measured.stage not in _NUMERIC or measured.severity == "note" or measured.status == "propagated":
        return False
    if _RANK[measured.stage] < _RANK[declared.stage] or declared.candidate is None or measured.candidate is None:
        return False
    if declared.kind == measured.kind == "precision":
        return True
    if declared.kind in _MODES and declared.op and any(word in (measured.op or "").lower() for word in _MODED):
        return True
    if measured.stage == "structure" and declared.kind not in _PARAMETERS.get(measured.kind, ()):
        return False
    if declared.kind in _STATISTICS and measured.stage != "metrics":
        return False
    if measured.stage == "optimizer" and not _same_rule(declared.kind, measured.kind):
        return False
    owned = measured.stage == "backward" or (measured.stage == "metrics" and declared.kind in _RUNNING)
    for mine, theirs in ((declared.candidate, measured.candidate), (declared.reference, measured.reference)):
        if mine is not None and theirs is not None and mine.path:
            owner = theirs.path.rpartition(".")[0] if owned else theirs.path
            if mine.path in (theirs.path, owner):
                return True
    return False


def _same_rule(declared: str, measured: str) -> bool:
    """Whether a difference in an optimizer's updates, where it is explained, is that of a setting."""
    return measured in ("unexplained", declared) or {declared, measured} <= _RATES


def _grouped(findings: list[Finding]) -> list[Finding]:
    """Equal warnings at several layers as one, at the first of them."""
    groups: dict[tuple[str, str, str, str, str], list[Finding]] = defaultdict(list)
    kept: list[Finding] = []
    for finding in findings:
        if finding.severity != "warning" or finding.reference is None or finding.candidate is None or finding.error:
            kept.append(finding)
            continue
        key = (finding.stage, finding.kind, str(finding.reference.value), str(finding.candidate.value),
               str(finding.candidate.file))  # fmt: skip
        if not groups[key]:
            kept.append(finding)
        groups[key].append(finding)
    for same in groups.values():
        if len(same) > 1:
            same[0].message += f"; so in {len(same) - 1} more layers"
    return kept
