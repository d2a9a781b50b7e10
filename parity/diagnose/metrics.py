"""The stage `metrics`: running statistics, and what diverges only in evaluation mode."""

from __future__ import annotations

from parity.compare.faults import Judged
from parity.diagnose.names import Names, at, numbers
from parity.document import Cause, Finding
from parity.model import EVALUATION

_EXPLAINS = 1e-3
"""What a momentum or a variance may leave of an update, relative to it, to be its explanation."""


def statistics(judged: list[Judged], findings: list[Finding], mine: Names, theirs: Names) -> list[Finding]:
    """Running statistics that diverge, one finding a layer.

    Args:
        judged: Every measured place.
        findings: Those of the forward pass, in training and in evaluation mode; what they explain is left out.
        mine: The reference's layers.
        theirs: The candidate's.
    """
    diverged = {f.reference.path for f in findings if f.reference and f.stage in ("forward", "metrics")}
    found: dict[str, Finding] = {}
    for item in judged:
        record = item.record
        owner = mine.owners.get(record.path, "")
        if record.kind != "buffer" or not item.flagged or owner in diverged or owner in found:
            continue
        r, c = mine.place(record.path), theirs.place(record.candidate)
        error, noise = item.relative
        when = "in evaluation mode" if record.step == EVALUATION else f"after step {record.step}"
        found[owner] = Finding(
            record.mismatch or "running-statistics", "metrics", "fault", "introduced",
            None if record.step == EVALUATION else record.step, None, r, c, error, noise,
            item.ratio if item.ratio != float("inf") else None,
            f"{at(c)} diverges from {at(r)} {when}: {numbers(item)}",
        )  # fmt: skip
        _explain(found[owner], item, theirs)
    return list(found.values())


def _explain(finding: Finding, item: Judged, theirs: Names) -> None:
    record = item.record
    known = record.alternatives
    if record.step == EVALUATION:
        finding.cause = Cause("the candidate changes the running statistics in evaluation mode", 0.9)
        return
    if "calls" in known:
        mine, others = round(known["own-calls"]), round(known["calls"])
        finding.severity = "warning"
        finding.cause = Cause(
            f"the candidate calls the layer {others} times a step in training mode, the reference {mine}: each call "
            "moves the running statistics, which only evaluation uses", 0.9,
        )  # fmt: skip
        return
    finding.cause = Cause("the running statistics are updated differently", 0.5)
    momentum, variance = known.get("momentum"), known.get("variance")
    if variance is not None and known["variance-rest"] < _EXPLAINS and "var" in record.path:
        count = round(1 / abs(1 - variance)) if variance != 1 else 0
        if count > 1 and abs(variance - (1 - 1 / count)) < 1e-5 and variance < 1:
            finding.cause = Cause(
                f"the running variance takes the biased variance of {count} values, where the reference takes the "
                "unbiased one", 0.95,
            )  # fmt: skip
            return
        if count > 1 and variance > 1:
            finding.cause = Cause(
                "the running variance takes the unbiased variance, where the reference takes the biased one", 0.9
            )
            return
    if momentum is not None and known["momentum-rest"] < _EXPLAINS:
        layer = theirs.layers.get(theirs.owners.get(record.candidate, ""))
        finding.kind = "norm-momentum"
        kept = f"{1 - momentum:.4g}"
        finding.cause = Cause(
            f"each batch gets a weight of {momentum:.4g} in the running statistics (momentum {kept} in MindSpore's "
            "convention)", 0.95,
        )  # fmt: skip
        own = known.get("own-momentum")
        if layer is not None and layer.framework and own is not None:
            finding.fix = f"nn.{layer.type}(..., momentum={1 - own:.4g})"


def explain_evaluation(finding: Finding, type_name: str, op: str | None) -> None:
    """Says of a divergence at a layer or op that it is one of evaluation mode only."""
    text = "it agrees in training mode and diverges in evaluation mode"
    words = f"{type_name} {op or ''}".lower()
    if "dropout" in words:
        text = "dropout stays active in evaluation mode"
    elif "batchnorm" in words or "batch_norm" in words:
        text = "in evaluation mode it does not normalize by the running statistics as the reference does; " + text
    finding.kind = finding.kind if finding.kind != "unexplained" else "evaluation-mode"
    finding.cause = Cause(text, 0.8, finding.cause.text if finding.cause else "")
