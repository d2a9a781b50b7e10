"""The element type in which each layer computes: what casts, `to_float` and mixed precision make of it."""

from __future__ import annotations

from collections import defaultdict

from parity.diagnose.counterparts import Counterparts
from parity.diagnose.environment import precisions
from parity.diagnose.names import Names, at
from parity.diagnose.pairing import LayerPair, layer_pairs
from parity.document import Cause, Finding
from parity.model import CallEvent
from parity.trace import Trace
from parity.words import some

_SIZES = {"float64": 64, "float32": 32, "bfloat16": 16, "float16": 16}


def dtypes(reference: Trace, candidate: Trace) -> list[Finding]:
    """Library layers whose results have another float type than their counterparts': a finding for each pair of types.

    Where whole models differ so, the environment's finding tells it and carries what diverges; here stand other layers.
    """
    whole = precisions(reference, candidate)
    made = _made(reference), _made(candidate)
    groups: dict[tuple[str, str], list[LayerPair]] = defaultdict(list)
    for pair in layer_pairs(reference, candidate, Counterparts(reference, candidate).known):
        mine, theirs = (side.get(layer.path, "") for side, layer in zip(made, pair, strict=True))
        if mine in _SIZES and theirs in _SIZES and mine != theirs and (mine, theirs) != whole:
            groups[mine, theirs].append(pair)
    alone = whole[0] == whole[1]
    return [_finding(pairs, *types, alone) for types, pairs in groups.items()]


def _made(trace: Trace) -> dict[str, str]:
    """The element type of each layer's first result in the first step."""
    found: dict[str, str] = {}
    for call in trace.of(CallEvent, 0):
        if call.outputs:
            found.setdefault(call.path, call.outputs[0].ref.dtype)
    return found


def _finding(pairs: list[LayerPair], mine: str, theirs: str, alone: bool) -> Finding:
    r, c = (Names.of(layer) for layer in pairs[0])
    r.value, c.value = mine, theirs
    text = f"{at(c)} computes in {theirs}, {at(r)} in {mine}"
    others = [pair.candidate.path for pair in pairs[1:]]
    if others:
        text += f"; likewise {some(others, 4)}"
    why = "an amp level, to_float or a cast that the reference does not have"
    if _SIZES[theirs] > _SIZES[mine]:
        why = "the reference's autocast or cast reaches this layer, none of the candidate does"
    status = "introduced" if alone else None
    finding = Finding("precision", "structure", "warning", status, 0, None, r, c, None, None, None, text)
    finding.cause = Cause(why, 0.9)
    finding.fix = f"{c.path}.to_float(mindspore.{mine})"
    return finding
