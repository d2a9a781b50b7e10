"""Gradient clipping as both scripts call it."""

from __future__ import annotations

from typing import NamedTuple

from parity.diagnose.hyper.provenance import shown, tidy
from parity.diagnose.hyper.settings import Side
from parity.diagnose.stage import HINT, Context
from parity.document import Cause, Finding, Place
from parity.model import ObjectInfo
from parity.trace import Trace

_CALLS = {
    "clip_grad_norm_": ("global norm", "max_norm"),
    "clip_grad_value_": ("value", "clip_value"),
    "clip_by_global_norm": ("global norm", "clip_norm"),
    "clip_by_norm": ("norm of each", "max_norm"),
    "clip_by_value": ("value", "clip_value_max"),
}
"""What the frameworks' functions clip by, and the argument that says to what."""

_FIX = {"global norm": "ops.clip_by_global_norm(grads, {})", "value": "ops.clip_by_value(grads, -{0}, {0})"}


class _Clip(NamedTuple):
    how: str
    most: float
    call: ObjectInfo


def compared_clipping(context: Context) -> list[Finding]:
    """A difference in clipping; a mere hint, because a script may clip by code of its own."""
    mine, theirs = _clip(context.reference), _clip(context.candidate)
    if (mine is None and theirs is None) or (mine and theirs and mine[:2] == theirs[:2]):
        return []
    side = Side(context.candidate)
    if not side.steps[0]:
        return []
    event = next(iter(side.steps[0].values())).event
    places = [_place(event.name, clip) for clip in (mine, theirs)]
    words = [f"clips gradients by {c.how} to {shown(c.most)}" if c else "does not call a clipping function" for c in
             (theirs, mine)]  # fmt: skip
    at = [f" ({p.file}:{p.line})" if p.file else "" for p in places]
    text = f"the candidate{at[1]} {words[0]}, the reference{at[0]} {words[1]}"
    severity = HINT if mine is None or theirs is None else "warning"
    finding = Finding(
        "clipping", "hyperparameters", severity, "introduced", 0, None, places[0], places[1], None, None, None, text,
        Cause("gradients are clipped differently before the optimizer gets them", 0.9),
    )  # fmt: skip
    if mine is not None and mine.how in _FIX:
        finding.fix = _FIX[mine.how].format(shown(mine.most))
    return [finding]


def _clip(trace: Trace) -> _Clip | None:
    """The only way in which a script clips, None where it does not, or in several ways."""
    found = []
    for call in trace.objects:
        if call.kind == "clip" and call.type in _CALLS:
            how, argument = _CALLS[call.type]
            most = call.arguments.get(argument)
            if isinstance(most, (int, float)):
                found.append(_Clip(how, float(tidy(most)), call))
    return found[0] if len({clip[:2] for clip in found}) == 1 else None


def _place(name: str, clip: _Clip | None) -> Place:
    return Place(name, clip.call.file, clip.call.line, clip.most) if clip else Place(name)
