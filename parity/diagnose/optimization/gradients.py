"""What each side does to gradients between the backward pass and the optimizer, read from its own records."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from parity.align.candidate import own_scale
from parity.compare.faults import Judged
from parity.diagnose.lone_ops import EXTRA, MISSING
from parity.diagnose.optimization.recorded import Calls
from parity.document import Cause, Finding
from parity.model import OptimizerEvent, ParameterGradEvent
from parity.trace import Trace

_SAME = 1e-4
"""Relative distance under which two factors or norms are one."""


class Treated(NamedTuple):
    """What was done to the gradients of one optimizer call.

    Attributes:
        factors: By parameter, the given gradient as a multiple of the one that backward passes made.
        straight: Whether each is such a multiple.
        before: The global norm of what backward passes made.
        after: That of what the optimizer was given.
        largest: The largest magnitude that was given.
        norms: By parameter, the norm of what was given.
        passes: Backward passes since the last call.
        lone: The given gradient is a multiple of what the last backward pass alone made.
    """

    factors: dict[str, float]
    straight: bool
    before: float
    after: float
    largest: float
    norms: dict[str, float]
    passes: int
    lone: bool

    @property
    def factor(self) -> float | None:
        """The one multiple of all gradients, None where there is none."""
        values = list(self.factors.values())
        if not values or not self.straight or max(values) - min(values) > _SAME * max(map(abs, values)):
            return None
        return float(np.median(values))


def treated(trace: Trace, event: OptimizerEvent) -> Treated:
    """Holds what an optimizer call was given against what the backward passes of its step made."""
    raw: dict[str, np.ndarray] = {}
    last: dict[str, np.ndarray] = {}
    passes = set()
    for made in trace.of(ParameterGradEvent, event.step):
        if made.name in event.given:
            values = np.asarray(trace.array(made.ref), np.float64).reshape(-1)
            raw[made.name] = raw[made.name] + values if made.name in raw else values
            last[made.name] = values
            passes.add(made.backward)
    scale = own_scale(event)
    factors, norms, squares = {}, {}, [0.0, 0.0]
    straight = lone = True
    largest = 0.0
    for name, before in raw.items():
        after = np.asarray(trace.array(event.given[name]), np.float64).reshape(-1) / scale
        square = float(before @ before)
        squares[0] += square
        squares[1] += float(after @ after)
        norms[name] = float(np.sqrt(after @ after))
        largest = max(largest, float(np.abs(after).max(initial=0.0)))
        if square > 0 and np.isfinite(square):
            factors[name] = float(after @ before) / square
            straight &= _straight(after, before)
        lone &= _straight(after, last[name])
    return Treated(
        factors, straight, squares[0] ** 0.5, squares[1] ** 0.5, largest, norms, len(passes), lone and not straight
    )


def _carried(trace: Trace, before: OptimizerEvent, event: OptimizerEvent) -> bool:
    """Whether an optimizer call was given what its step's backward passes made plus what the call before was given."""
    made: dict[str, np.ndarray] = {}
    for one in trace.of(ParameterGradEvent, event.step):
        if one.name in event.given:
            values = np.asarray(trace.array(one.ref), np.float64)
            made[one.name] = made[one.name] + values if one.name in made else values
    known = [name for name in made if name in before.given]
    moved = False
    for name in known:
        given, old = (np.asarray(trace.array(e.given[name]), np.float64) / own_scale(e) for e in (event, before))
        if float(np.abs(given - made[name] - old).max()) > _SAME * float(np.abs(given).max(initial=0.0)) + 1e-30:
            return False
        moved |= float(np.abs(old).max(initial=0.0)) > 10 * _SAME * float(np.abs(given).max(initial=0.0))
    return moved


def _straight(after: np.ndarray, before: np.ndarray) -> bool:
    """Whether one gradient is a multiple of another."""
    square = float(before @ before)
    if not (square > 0 and np.isfinite(square)):
        return True
    rest = after - float(after @ before) / square * before
    return float(np.abs(rest).max()) <= _SAME * float(np.abs(after).max()) + 1e-30


def processing_cause(items: list[Judged], calls: Calls, reference: Trace, candidate: Trace) -> tuple[str, Cause]:
    """Why an optimizer is given other gradients than the reference's code makes of the same backward passes.

    Args:
        items: The flagged gradients of one step.
        calls: The optimizer's calls.
        reference: The reference's trace.
        candidate: The candidate's trace.

    Returns:
        The finding's slug, and its cause.
    """
    steps = [k for k, event in enumerate(calls.candidate) if event.step == items[0].record.step][:1] or [0]
    at = steps[0]
    mine = [treated(reference, event) for event in calls.reference]
    theirs = [treated(candidate, event) for event in calls.candidate]
    r, c = mine[at], theirs[at]
    kept = [
        at > 0 and _carried(trace, calls_[at - 1], calls_[at])
        for trace, calls_ in ((reference, calls.reference), (candidate, calls.candidate))
    ]
    if kept[0] != kept[1]:
        side = "the candidate's" if kept[1] else "the reference's"
        text = f"{side} gradients hold those of the step before: they are not set back to zero after an update there"
        return "accumulation", Cause(text, 0.95)
    if c.lone and not r.lone:
        text = f"the optimizer is given the gradients of the last of {c.passes} backward passes, not their sum"
        return "accumulation", Cause(text, 0.9)
    clip = {side: clipping(each) for side, each in (("reference", mine), ("candidate", theirs))}
    factors = [j.record.factor for j in items if j.record.factor]
    ratio = float(np.median(factors)) if factors else None
    even = ratio is not None and max(factors) - min(factors) <= 1e-3 * max(map(abs, factors))
    scaled = candidate.meta.environment.get("loss_scale")
    if not _alike(clip["reference"], clip["candidate"]):
        return _clipping(clip["reference"], clip["candidate"], r, c)
    if even and ratio is not None and _by_clip_epsilon(ratio, r, c):
        text = f"one side adds 1e-6 to the global norm that it divides by, the other does not: factor {ratio:.9g}"
        return CLIP_EPSILON, Cause(text, 0.9, _said(r, c))
    if not even or ratio is None:
        return "unexplained", Cause(
            "gradients are processed differently between the backward pass and the optimizer (clipping, unscaling, "
            "accumulation)", 0.3,
        )  # fmt: skip
    times = f"factor {ratio:.6g}"
    power = ratio > 1 and abs(np.log2(ratio) - round(np.log2(ratio))) < 1e-3
    passes = max(r.passes, c.passes)
    if passes > 1 and min(abs(ratio / passes - 1), abs(ratio * passes - 1)) < 1e-3:
        how = ("summed", "averaged") if ratio > 1 else ("averaged", "summed")
        text = f"the gradients of {passes} backward passes are {how[0]}, where the reference's are {how[1]}: {times}"
        return "accumulation", Cause(text, 0.9)
    if power and (scaled or ratio >= 8):
        text = f"the loss scale is not undone: the gradients are not unscaled before the optimizer, {times}"
        return "loss-scale", Cause(text, 0.9 if scaled else 0.6)
    if clip["reference"] and clip["reference"].how == "global norm" and calls.lone():
        text = f"both sides clip to the same global norm, which has other parameters in it: {times}"
        return ONE_SIDED, Cause(text, 0.9, _said(r, c))
    text = f"what happens to gradients between backward and the optimizer differs: {times}"
    return "gradient-scale", Cause(text, 0.5, _said(r, c))


ONE_SIDED = "clipping-inherited"
"""The slug of a difference that only follows from parameters which one side lacks."""


CLIP_EPSILON = "clip-epsilon"
"""The slug of a difference that only comes from the 1e-6 that PyTorch adds to the norm when it clips."""

_LIVED_WITH = 1e-3
"""Relative effect of that up to which it is one to live with: 1e-6 by the norm."""


def _by_clip_epsilon(ratio: float, r: Treated, c: Treated) -> bool:
    clipped = all(t.factor is not None and 0 < t.factor < 1 - _SAME for t in (r, c))
    off = abs(ratio - 1)
    return clipped and r.before > 0 and off < _LIVED_WITH and abs(off * r.before / 1e-6 - 1) < 0.5


class Clip(NamedTuple):
    """How gradients are clipped: by `global norm`, each by its own `norm`, or by `value`; and to what."""

    how: str
    most: float


def _alike(a: Clip | None, b: Clip | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.how == b.how and abs(a.most - b.most) <= 1e-3 * max(a.most, b.most)


def clipping(steps: list[Treated]) -> Clip | None:
    """How gradients were clipped, None where they were not, or not as far as can be told."""
    cut = [t for t in steps if t.factor is not None and 0 < t.factor < 1 - _SAME]
    ends = [t.after for t in cut]
    if cut and max(ends) - min(ends) <= 1e-3 * max(ends) and (len(cut) > 1 or _round(ends[0])):
        factors = [t.factor for t in cut if t.factor is not None]
        if len(cut) == 1 or max(factors) - min(factors) > _SAME * max(factors) or _round(ends[0]):
            return Clip("global norm", _nice(float(np.median(ends))))
    bent = [t for t in steps if not t.straight]
    tops = [t.largest for t in bent]
    if bent and max(tops) - min(tops) <= 1e-4 * max(tops) and (len(bent) > 1 or _round(tops[0])):
        return Clip("value", _nice(tops[0]))
    own = [n for t in steps if t.straight for name, n in t.norms.items() if t.factors.get(name, 1.0) < 1 - _SAME]
    if len(own) > 1 and not cut and max(own) - min(own) <= 1e-3 * max(own):
        return Clip("norm", _nice(float(np.median(own))))
    return None


def _round(value: float) -> bool:
    """Whether a number is one that people write: two significant digits."""
    return value > 0 and abs(float(f"{value:.2g}") / value - 1) < 2e-4


def _nice(value: float) -> float:
    return float(f"{value:.2g}") if _round(value) else float(f"{value:.5g}")


_WORDS = {
    "global norm": "clipped to a global norm of {:g}",
    "norm": "clipped each to a norm of its own of {:g}",
    "value": "clipped by value to {:g}",
}


def _clipping(mine: Clip | None, theirs: Clip | None, r: Treated, c: Treated) -> tuple[str, Cause]:
    words = [_WORDS[x.how].format(x.most) if x else "not clipped" for x in (theirs, mine)]
    text = f"clipping differs: gradients are {words[0]}, in the reference {words[1]}"
    if mine and theirs and mine.how == theirs.how and r.before > 0:
        scale = c.before / r.before
        if abs(theirs.most * scale / mine.most - 1) < 0.02 and abs(scale - 1) > 0.1:
            text += f": they are clipped while scaled by {scale:.4g}, before they are unscaled"
    return "clipping", Cause(text, 0.9, _said(r, c))


def _said(r: Treated, c: Treated) -> str:
    return (
        f"global norm {c.before:.4g} before and {c.after:.4g} after, in the reference {r.before:.4g} and {r.after:.4g}"
    )


def _accumulated(candidate: Trace, step: int | None) -> int:
    """Backward passes of a step that add up: those that one parameter gets a gradient from."""
    counts = Counter(event.name for event in candidate.of(ParameterGradEvent, step))
    return max(counts.values(), default=0)


def name_scaled_losses(findings: list[Finding], judged: list[Judged], candidate: Trace) -> None:
    """Says of a loss that is a multiple of the reference's what multiple it is, and what is usually forgotten then.

    Args:
        findings: All findings; those of the loss are changed in place.
        judged: Every measured place.
        candidate: The candidate's trace.
    """
    for finding in findings:
        if finding.stage != "loss" or finding.kind not in ("unexplained", MISSING, EXTRA):
            continue
        items = [j for j in judged if j.record.kind == "loss" and j.record.step == finding.step and j.flagged]
        factors = [j.record.factor for j in items if j.record.factor]
        if not factors or max(factors) - min(factors) > 1e-3 * abs(factors[0]):
            continue
        factor = float(np.median(factors))
        passes = _accumulated(candidate, finding.step)
        text, kind = f"the loss is {factor:.6g} times the reference's", finding.kind
        if passes > 1 and min(abs(factor / passes - 1), abs(factor * passes - 1)) < 1e-3:
            verb = "is not" if factor > 1 else "is"
            text += f": that of each of the {passes} backward passes {verb} divided by their number (accumulation)"
            kind = "accumulation"
        elif factor >= 8 and abs(np.log2(factor) - round(np.log2(factor))) < 1e-3:
            text += ": a loss scale that is not undone"
            kind = "loss-scale"
        else:
            continue
        evidence = finding.cause.text if finding.cause else ""
        finding.kind, finding.cause = kind, Cause(text, 0.8, evidence)
        finding.message += f"; {text}"
