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
    found = [_finding(pairs, *types, alone) for types, pairs in groups.items()]
    return found + _stored(reference, candidate, whole)


def _stored(reference: Trace, candidate: Trace, whole: tuple[str, str]) -> list[Finding]:
    """Parameters that are held in another float type than their counterparts."""
    mine, theirs = ({n: p.dtype for p in trace.parameters for n in p.names} for trace in (reference, candidate))
    groups: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for entry in (candidate.meta.mapping or {}).get("pairs", []):
        types = mine.get(entry["reference"], ""), theirs.get(entry["candidate"], "")
        if set(types) <= set(_SIZES) and types[0] != types[1] and types != whole:
            groups[types].append((entry["reference"], entry["candidate"]))
    found = []
    for types, names in groups.items():
        r, c = Names(reference).place(names[0][0]), Names(candidate).place(names[0][1])
        r.value, c.value = types
        others = [name for _, name in names[1:]]
        text = f"{at(c)} is held in {types[1]}, {at(r)} in {types[0]}" + (
            f"; likewise {some(others, 4)}" if others else ""
        )
        cause = Cause("the parameter was made, or cast, in another type", 0.9)
        fix = f"make {c.path} in mindspore.{types[0]}"
        found.append(
            Finding("precision", "structure", "warning", None, None, None, r, c, None, None, None, text, cause, fix)
        )
    return found


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
