"""The stage of what surrounds the computation: seeds, determinism and precision."""

from __future__ import annotations

from parity.align.nodes import kind_of
from parity.diagnose.stage import Context, Result
from parity.document import Cause, Finding, Place, Stage
from parity.model import CallEvent, ObjectInfo
from parity.trace import Trace

_HALF = ("float16", "bfloat16")
_MOST = 0.5
"""A model computes in half precision where at least this part of its layers with weights does."""


def judge(context: Context) -> Result:
    """Compares seeds, deterministic algorithms, and in which precision both models compute."""
    sides = context.reference, context.candidate
    return Result(_seeds(*sides) + _determinism(*sides) + _precision(*sides), Stage("match", 3, 3))


def _seeds(reference: Trace, candidate: Trace) -> list[Finding]:
    mine, theirs = ([o for o in trace.objects if o.kind == "seed"] for trace in (reference, candidate))
    if not mine or theirs:
        return []
    seed = mine[0]
    value = next(iter(seed.arguments.values()), None)
    place = Place("", seed.file, seed.line, value)
    other = next((o for o in candidate.objects if o.kind == "numpy-seed"), None)
    text = f"the reference seeds its generators ({seed.file}:{seed.line}), the candidate "
    if other is not None:
        text += f"only NumPy's ({other.file}:{other.line}): what its ops draw, such as dropout, differs from run to run"
    else:
        text += "does not: its initial weights and its batches differ from run to run"
    where = Place("", other.file, other.line, other.arguments.get("seed")) if other is not None else Place("")
    severity = "note" if other is not None else "warning"
    cause = Cause("no call of mindspore.set_seed was seen", 0.9)
    finding = Finding("seed", "environment", severity, None, None, None, place, where, None, None, None, text, cause)
    finding.fix = f"mindspore.set_seed({value})"
    return [finding]


def _determinism(reference: Trace, candidate: Trace) -> list[Finding]:
    """One side asks for deterministic algorithms, which cost speed and change low digits."""
    calls = [next((o for o in t.objects if o.kind == "determinism"), None) for t in (reference, candidate)]
    asked = [call is not None and next(iter(call.arguments.values()), True) is not False for call in calls]
    if asked[0] == asked[1]:
        return []
    r, c = (
        Place("", call.file if call else None, call.line if call else None, value)
        for call, value in zip(calls, asked, strict=True)
    )
    side, other, place = ("reference", "candidate", r) if asked[0] else ("candidate", "reference", c)
    text = f"the {side} asks for deterministic algorithms ({place.file}:{place.line}), the {other} does not"
    finding = Finding("determinism", "environment", "note", None, None, None, r, c, None, None, None, text)
    finding.fix = "mindspore.set_deterministic(True)" if asked[0] else None
    return [finding]


def precisions(reference: Trace, candidate: Trace) -> tuple[str, str]:
    """The element types in which most layers with weights compute, of the reference and of the candidate."""
    return _half(reference) or "float32", _half(candidate) or "float32"


def _precision(reference: Trace, candidate: Trace) -> list[Finding]:
    """Both models as a whole compute in different precisions."""
    mine, theirs = precisions(reference, candidate)
    if mine == theirs:
        return []
    places = [_scaler(trace) for trace in (reference, candidate)]
    places[0].value, places[1].value = mine, theirs
    if "float32" in (mine, theirs):
        side, dtype = ("candidate", theirs) if mine == "float32" else ("reference", mine)
        text = f"the {side}'s model computes in {dtype}, the other in float32"
        cause = Cause(f"mixed precision (autocast, amp) in the {side} only", 0.9)
    else:
        text = f"the candidate's model computes in {theirs}, the reference's in {mine}"
        cause = Cause("mixed precision of another half type", 0.9)
    finding = Finding(
        "precision", "environment", "warning", "introduced", 0, None, places[0], places[1], None, None, None, text,
        cause,
    )  # fmt: skip
    return [finding]


def _scaler(trace: Trace) -> Place:
    known: ObjectInfo | None = next((o for o in trace.objects if o.kind == "scaler"), None)
    return Place("", known.file if known else None, known.line if known else None)


def _half(trace: Trace) -> str:
    """The half precision in which most layers with weights compute, empty where they do not."""
    types = {layer.path: layer.type for layer in trace.layers if layer.framework}
    found = []
    for call in trace.of(CallEvent, 0):
        if kind_of(types.get(call.path, "")) in ("linear", "conv") and call.outputs:
            found.append(call.outputs[0].ref.dtype)
    half = [dtype for dtype in found if dtype in _HALF]
    return half[0] if half and len(half) >= _MOST * len(found) else ""
