"""The element type in which each layer computes: what casts, `to_float` and mixed precision make of it."""

from __future__ import annotations

from collections import defaultdict

from parity.diagnose.counterparts import corresponding
from parity.diagnose.environment import precisions
from parity.diagnose.names import Names, at
from parity.diagnose.pairing import LayerPair
from parity.document import Cause, Finding, Place
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
    for pair in corresponding(reference, candidate):
        mine, theirs = (side.get(layer.path, "") for side, layer in zip(made, pair, strict=True))
        if mine in _SIZES and theirs in _SIZES and mine != theirs and (mine, theirs) != whole:
            groups[mine, theirs].append(pair)
    alone = whole[0] == whole[1]
    found = [_computed(pairs, types, alone) for types, pairs in groups.items()]
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
        places = Names(reference).place(names[0][0]), Names(candidate).place(names[0][1])
        finding = _finding("is held", places, [name for _, name in names], types, None, None)
        finding.cause = Cause("the parameter was made, or cast, in another type", 0.9)
        finding.fix = f"make {names[0][1]} in mindspore.{types[0]}"
        found.append(finding)
    return found


def _made(trace: Trace) -> dict[str, str]:
    """The element type of each layer's first result in the first step."""
    found: dict[str, str] = {}
    for call in trace.of(CallEvent, 0):
        if call.outputs:
            found.setdefault(call.path, call.outputs[0].ref.dtype)
    return found


def _computed(pairs: list[LayerPair], types: tuple[str, str], alone: bool) -> Finding:
    """Layers that compute in another type; `alone` where nothing else tells of precision."""
    r, c = (Names.of(layer) for layer in pairs[0])
    status, names = "introduced" if alone else None, [pair.candidate.path for pair in pairs]
    finding = _finding("computes", (r, c), names, types, status, 0)
    why = "an amp level, to_float or a cast that the reference does not have"
    if _SIZES[types[1]] > _SIZES[types[0]]:
        why = "the reference's autocast or cast reaches this layer, none of the candidate does"
    finding.cause, finding.fix = Cause(why, 0.9), f"{c.path}.to_float(mindspore.{types[0]})"
    return finding


def _finding(
    does: str, places: tuple[Place, Place], names: list[str], types: tuple[str, str], status: str | None,
    step: int | None,
) -> Finding:  # fmt: skip
    """The first of several places of the candidate, which are named, and its counterpart."""
    r, c = places
    r.value, c.value = types
    text = f"{at(c)} {does} in {types[1]}, {at(r)} in {types[0]}"
    if len(names) > 1:
        text += f"; likewise {some(names[1:], 4)}"
    return Finding("precision", "structure", "warning", status, step, None, r, c, None, None, None, text)
