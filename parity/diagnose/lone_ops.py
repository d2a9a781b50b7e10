"""An op that only one side applies, told from one that both apply to another effect; and the layer that it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from parity import mapping
from parity.diagnose.counterparts import Counterparts
from parity.diagnose.graph import CandidateOp, Flow
from parity.diagnose.names import Names
from parity.diagnose.pairing import layer_pairs
from parity.document import Cause, Finding, Place
from parity.measured import ForcedOp, Measured
from parity.model import CallEvent, LayerInfo
from parity.trace import Trace

MISSING, EXTRA = "op-missing", "op-extra"
"""Slugs of an op that the candidate lacks, and of one that only it has."""

_LAYERS = {MISSING: "layer-missing", EXTRA: "layer-extra"}


def name_lone_op(
    finding: Finding, record: Measured, ops: Sequence[ForcedOp], others: Sequence[CandidateOp], flow: Flow, mine: Names
) -> str:
    """Says of a divergence that one side applies an op which the other lacks, where that is so.

    Args:
        finding: The divergence; changed in place.
        record: What was measured of it.
        ops: The reference's ops in the piece before it that have no counterpart by value, in order.
        others: The candidate's.
        flow: The data flow of the forced run.
        mine: The reference's layers.

    Returns:
        What the candidate does other than the reference, in words; empty where it is not that.
    """
    own, other = (Counter(filter(None, (_plain(op.name) for op in side))) for side in (ops, others))
    evidence = finding.cause.evidence if finding.cause is not None else ""
    if own > other and (own - other)[_plain(ops[0].name)]:
        op = ops[0]
        finding.kind = MISSING
        text = f"the reference applies {op.name} ({op.file}:{op.line}), which the candidate lacks"
        before = next((flow.boundary[tag].candidate for tag in op.inputs if tag in flow.boundary), None)
        behind = f" to what leaves {before}" if before else ""
        finding.cause = Cause(text, 0.8, evidence)
        finding.fix = f"apply {op.name}{behind}"
        path = _enclosing(op.path.rpartition(".")[0] if mine.leaf(op.path) else op.path, flow)
        place = finding.candidate
        if not others or place is None or not f"{place.path}.".startswith(f"{path}."):
            file, line = flow.nearest_line(record, path)
            finding.candidate = Place(path, file, line) if file is not None else place
        return f"lacks the {op.name} of"
    if other > own:
        extra = next(op for op in others if (other - own)[_plain(op.name)])
        finding.kind = EXTRA
        text = f"the candidate applies {extra.name} ({extra.file}:{extra.line}), which the reference lacks"
        finding.candidate, finding.op = Place(extra.path, extra.file, extra.line), extra.name
        finding.cause = Cause(text, 0.8, evidence)
        finding.fix = f"remove {extra.name} at {extra.file}:{extra.line}"
        return f"applies a {extra.name} that is not in"
    return ""


def _enclosing(path: str, flow: Flow) -> str:
    """The candidate's counterpart of the innermost layer around a path that has one."""
    while path:
        found = flow.counterpart(path)
        if found:
            return found
        path = path.rpartition(".")[0]
    return ""


_ALIASES = {
    "biasadd": "", "linear": "matmul", "dense": "matmul", "addmm": "matmul", "baddbmm": "matmul", "bmm": "matmul",
    "batchmatmul": "matmul", "mm": "matmul", "truediv": "div", "realdiv": "div", "adds": "add", "subs": "sub",
    "muls": "mul", "divs": "div",
}  # fmt: skip
"""What one framework does in an op of its own is part of another in the other one, or is called otherwise."""


def _plain(name: str) -> str:
    """An op's name in no framework's dialect; empty for what the other framework's op includes."""
    plain = re.sub(r"(?:[123]d|ext|v\d)+$", "", name.lower().replace("_", "").replace("reduce", ""))
    return _ALIASES.get(plain, plain)


def lone_layers(findings: list[Finding], reference: Trace, candidate: Trace, stage: str) -> None:
    """Makes findings of structure of ops that are the whole of a layer which the other side does not have.

    Args:
        findings: All findings; changed in place.
        reference: The reference's trace.
        candidate: The candidate's trace.
        stage: The stage that they get.
    """
    wanted = [f for f in findings if f.kind in _LAYERS and f.stage == "forward" and f.status == "introduced"]
    if not wanted:
        return
    pairs = layer_pairs(reference, candidate, Counterparts(reference, candidate).known)
    paired = {p.reference.path for p in pairs}, {p.candidate.path for p in pairs}
    for finding in wanted:
        missing = finding.kind == MISSING
        trace, other, place = (
            (reference, candidate, finding.reference) if missing else (candidate, reference, finding.candidate)
        )
        names = Names(trace)
        layer = names.layers.get(place.path) if place is not None else None
        if layer is None or not names.leaf(layer.path) or layer.path in paired[not missing]:
            continue
        side, word = ("reference", "candidate") if missing else ("candidate", "reference")
        made = Names.of(layer)
        text = f"{made.path} of the {side} ({made.file}:{made.line}), {layer.type}, has no counterpart in the {word}"
        idle = _idle(other, layer) if missing else None
        if idle is not None:
            text += f": {idle.path} ({idle.file}:{idle.line}) is never called"
        evidence = finding.message
        finding.stage, finding.kind = stage, _LAYERS[finding.kind]
        finding.message = f"{text}, {evidence.partition(', ')[2]}"
        finding.cause = Cause(f"a layer without parameters that only the {side} has", 0.9, evidence)
        made.value = layer.type
        if missing:
            finding.reference = made
            finding.fix = (f"call {idle.path}" if idle else _counterpart(layer)) + _where(finding)
        else:
            finding.candidate = made
            finding.fix = f"remove {made.path}, which is called at {place.file}:{place.line}" if place else None


def _counterpart(layer: LayerInfo) -> str:
    """The candidate's class for a layer of the reference, with the reference's own call."""
    known = next((entry.candidate for entry in mapping.counterparts(layer.type) if entry.candidate), layer.type)
    return f"apply {known}, the reference's {layer.code or layer.type}"


def _where(finding: Finding) -> str:
    """Behind what a layer is called."""
    found = re.search(r" to what leaves (.*)", finding.fix or "")
    place = finding.candidate
    line = f" ({place.file}:{place.line})" if place is not None and place.line is not None else ""
    return f" behind {found[1]}{line}" if found else f" there{line}"


def _idle(trace: Trace, like: LayerInfo) -> LayerInfo | None:
    """A layer of the same class and name that is constructed, but never called."""
    called = {call.path for call in trace.of(CallEvent)}
    name = like.path.rpartition(".")[2]
    found = [x for x in trace.layers if x.type == like.type and x.path and x.path not in called]
    return next((x for x in found if x.path.rpartition(".")[2] == name), found[0] if len(found) == 1 else None)
