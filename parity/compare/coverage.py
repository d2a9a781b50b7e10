"""What was compared and what was not: a match needs both."""

from __future__ import annotations

from parity.compare.faults import Judged
from parity.document import STAGES, Finding, Stage, Unaligned
from parity.measured import Forced, Measured
from parity.model import CallEvent, LossEvent, OptimizerEvent, ParameterGradEvent
from parity.options import Ignored
from parity.trace import Trace
from parity.words import some

_KINDS = {
    "forward": ("input", "output", "root"),
    "loss": ("loss",),
    "backward": ("gradient", "parameter-gradient"),
    "optimizer": ("given", "parameter"),
    "metrics": ("buffer",),
}


def stages_of(
    judged: list[Judged], findings: list[Finding], forced: Forced, reference: Trace, candidate: Trace, chosen: set[str]
) -> dict[str, Stage]:
    """Each stage's status and counts; those of which nothing was measured are `skipped`."""
    stages: dict[str, Stage] = {}
    called = {c.path for c in reference.of(CallEvent, 0)}
    inside = {op.path for op in forced.ops}
    for stage in STAGES:
        kinds = _KINDS.get(stage)
        faults = [f for f in findings if f.stage == stage and f.severity == "fault"]
        if kinds is None or stage not in chosen:
            status = "diverged" if faults else "skipped"
            why = "only with --train N" if stage == "training" else "needs the values of tensors"
            why = why if stage in chosen else "left out by --only or --skip"
            stages[stage] = Stage(status, diverged=len(faults), note=None if faults else why)
            continue
        records = [j for j in judged if _belongs(j.record, stage)]
        compared, total = len({(j.record.kind, j.record.path) for j in records}), 0
        if stage == "forward":
            total = len(called)
            compared = len({p for p in called if p in inside or any(q.startswith(p + ".") or not p for q in inside)})
            compared = compared if records else 0
            if not forced.ops:
                compared = len(called & {j.record.path for j in records})
        elif stage == "backward":
            total = len({e.name for e in reference.of(ParameterGradEvent)})
            compared = len({j.record.path for j in records if j.record.kind == "parameter-gradient"})
        elif stage == "optimizer":
            total = len({name for e in reference.of(OptimizerEvent) for name in e.after})
            compared = len({j.record.path for j in records if j.record.kind == "parameter"})
        elif stage == "loss":
            total = max(compared, int(bool(reference.of(LossEvent))))
        else:
            total = compared
        flagged = len({j.record.path for j in records if j.flagged})
        status = "diverged" if faults else "match" if records else "inconclusive" if total else "absent"
        if stage == "metrics" and not records:
            status = "absent"
        stages[stage] = Stage(status, compared, max(total, compared), flagged if faults else 0)
    return stages


def _belongs(record: Measured, stage: str) -> bool:
    """Whether a measured place counts for a stage: all of evaluation mode is for `metrics`."""
    if "metrics" in (record.stage, stage):
        return record.stage == stage
    return record.kind in _KINDS[stage]


def uncovered(
    judged: list[Judged], forced: Forced, reference: Trace, candidate: Trace, ignored: tuple[Ignored, ...] = ()
) -> list[str]:
    """What keeps a comparison from being enough, in words; empty where a match may be said."""
    missing = []
    if not reference.meta.inference and not any(j.record.kind == "loss" for j in judged):
        missing.append("the loss was not judged")
    for kind, what, names in (
        ("parameter-gradient", "gradient", {e.name for e in reference.of(ParameterGradEvent)}),
        ("parameter", "update", {name for e in reference.of(OptimizerEvent) for name in e.after}),
    ):
        left = sorted(names - {j.record.path for j in judged if j.record.kind == kind})
        left = [name for name in left if not any(entry.covers(name) for entry in ignored)]
        if left:
            missing.append(f"the {what} of {some(left)} was not judged")
    if not any(j.record.kind in ("output", "root", "input") for j in judged):
        missing.append("no layer's output was judged")
    return missing


def unaligned_of(forced: Forced, reference: Trace, candidate: Trace) -> Unaligned:
    """Layers with parameters that have no counterpart on the other side."""
    mapping = candidate.meta.mapping or {}
    mine = {path for node in mapping.get("nodes", []) for path in node["reference"]}
    theirs = {path for node in mapping.get("nodes", []) for path in node["candidate"]}
    return Unaligned(
        sorted({p.owner for p in reference.parameters if p.trainable} - mine),
        sorted({p.owner for p in candidate.parameters if p.trainable} - theirs),
    )
