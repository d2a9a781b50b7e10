"""What ails a run by itself: the field's checklist of symptoms, looked for in the recorded steps of each side.

A symptom that only the candidate shows is evidence of the first fault, and a warning where there is none; one that both
show is a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.align.candidate import own_scale
from parity.diagnose.names import at
from parity.document import Cause, Finding, Place
from parity.model import OpEvent, OptimizerEvent, SourceEvent, TensorEvent, TensorRef
from parity.trace import Trace, loss_curve

VANISHED, EXPLODED = 1e-9, 1e4
"""Largest magnitude of a weight's gradient below and above which training stalls or breaks (MindInsight's advice)."""

IDLE, VIOLENT = 1e-7, 1.0
"""RMS of an update relative to its weight's: less is lost in rounding, more replaces the weight (healthy: 1e-3)."""

SATURATED = 0.99
"""RMS of a tanh, and the like of a sigmoid, from which on next to no gradient passes."""

SMALL = 16
"""Tensors with fewer elements say nothing about saturation."""

CURVE = 20
"""Steps from which on a loss may be said not to fall."""

_SAMPLE = 65536


class Symptom(NamedTuple):
    """What was seen first of its kind, where and when."""

    kind: str
    step: int
    place: Place
    text: str
    op: str | None = None


def symptoms(reference: Trace, candidate: Trace, faults: list[Finding]) -> list[Finding]:
    """Warnings and notes; where faults are given, what only the candidate shows is put to the first as evidence.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
        faults: The introduced faults, in order.
    """
    mine, theirs = _Run(reference).symptoms(), _Run(candidate).symptoms()
    found = []
    for kind, symptom in theirs.items():
        other = mine.get(kind)
        told = f"step {symptom.step}: {symptom.text}"
        if other is None and faults:
            cause = faults[0].cause or Cause(faults[0].message, 0.5)
            cause.evidence = "; ".join(filter(None, (cause.evidence, f"the candidate, {told}")))
            faults[0].cause = cause
            continue
        alone = f"{told}; the reference does not show it" if other is None else f"{told}; so does the reference"
        found.append(
            Finding(
                kind, "training", "warning" if other is None else "note", None, symptom.step, symptom.op,
                other.place if other is not None else None, symptom.place, None, None, None, alone,
            )
        )  # fmt: skip
    return found


def _is_matrix(shape: tuple[int, ...]) -> bool:
    return sum(extent > 1 for extent in shape) > 1


class _Run:
    """One side's recorded steps."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.known = trace.statistics()
        self.updates = [event for event in trace.of(OptimizerEvent) if event.after]
        self.wide = {name for p in trace.parameters for name in p.names if p.trainable and _is_matrix(p.shape)}

    def symptoms(self) -> dict[str, Symptom]:
        """The first symptom of each kind."""
        found: dict[str, Symptom] = {}
        for part in (self._losses, self._gradients, self._weights, self._activations):
            for symptom in part():
                found.setdefault(symptom.kind, symptom)
        return found

    def _stats(self, ref: TensorRef) -> TensorEvent | None:
        return self.known.get(ref.digest)

    def _losses(self) -> Iterator[Symptom]:
        losses = loss_curve(self.trace)
        for step, loss in enumerate(losses):
            if not np.isfinite(loss) and not (np.isnan(loss) and not self.updates):
                yield Symptom("loss-nonfinite", step, Place(""), f"the loss is {loss:g}")
                yield from self._overflow(step)
            elif loss == 0:
                yield Symptom("loss-zero", step, Place(""), "the loss is exactly 0")
        quarter = len(losses) // 4
        if len(losses) >= CURVE and np.mean(losses[-quarter:]) >= np.mean(losses[:quarter]):
            first, last = np.mean(losses[:quarter]), np.mean(losses[-quarter:])
            text = f"the loss does not fall: {first:.4g} in the first of {len(losses)} steps, {last:.4g} in the last"
            yield Symptom("loss-not-falling", len(losses) - 1, Place(""), text)

    def _overflow(self, step: int) -> Iterator[Symptom]:
        """The first op that makes NaN or +Inf of finite values (-Inf is what masks are made of)."""
        bad: set[int] = {e.vid for e in self.trace.of(SourceEvent, step) if self._broken(e.ref)}
        for op in sorted(self.trace.of(OpEvent, step), key=lambda op: op.id):
            broken = [item for item in op.outputs if self._broken(item.ref)]
            if broken and bad.isdisjoint(op.inputs):
                place = Place(op.path, op.file, op.line)
                text = f"{op.name} at {at(place)} makes NaN or Inf of finite values"
                yield Symptom("overflow", step, place, text, op.name)
                return
            bad.update(item.vid for item in broken)

    def _broken(self, ref: TensorRef) -> bool:
        stats = self._stats(ref)
        if stats is None or not stats.nonfinite or ref not in self.trace:
            return False
        values = self.trace.array(ref)
        return bool(np.any(np.isnan(values) | (values == np.inf)))

    def _gradients(self) -> Iterator[Symptom]:
        peaks: dict[str, list[tuple[int, float]]] = {}
        for event in self.updates:
            own = own_scale(event)
            for name, ref in event.given.items():
                stats = self._stats(ref)
                if stats is None or name not in self.wide:
                    continue
                low, high = stats.minimum, stats.maximum
                broken = stats.nonfinite > 0 or low is None or high is None
                peak = float("inf") if broken or low is None or high is None else max(abs(low), abs(high)) / own
                peaks.setdefault(name, []).append((event.step, peak))
        for name, seen in peaks.items():
            place = Place(name)
            for step, peak in seen:
                if not np.isfinite(peak):
                    yield Symptom("gradient-nonfinite", step, place, f"the gradient of {name} holds NaN or Inf")
                elif peak > EXPLODED:
                    yield Symptom("gradient-exploding", step, place, f"the gradient of {name} reaches {peak:.1e}")
            if all(peak < VANISHED for _, peak in seen):
                text = f"the gradient of {name} is at most {max(p for _, p in seen):.1e} in all {len(seen)} steps"
                yield Symptom("gradient-vanishing", seen[0][0], place, text)

    def _weights(self) -> Iterator[Symptom]:
        for p in self.trace.parameters:
            stats = self._stats(p.ref) if p.ref is not None else None
            if p.trainable and _is_matrix(p.shape) and stats is not None and stats.minimum == stats.maximum == 0:
                yield Symptom("weight-zero", 0, Place(p.name), f"{p.name} starts as zeros")
        still: dict[str, bool] = {}
        for event in self.updates:
            for name, ref in event.after.items():
                if name in event.given and name in event.before:
                    still[name] = still.get(name, True) and ref.digest == event.before[name].digest
        for name, idle in still.items():
            if idle and name in self.wide:
                text = f"{name} has a gradient and does not change in {len(self.updates)} updates"
                yield Symptom("weight-not-updated", self.updates[0].step, Place(name), text)
        for event in self.updates[:1] + self.updates[-1:]:
            for name in sorted(self.wide & event.after.keys() & event.before.keys()):
                if event.before[name] not in self.trace or event.after[name] not in self.trace:
                    continue
                before, after = (self._sample(refs[name]) for refs in (event.before, event.after))
                size, moved = float(np.sqrt(np.mean(before**2))), float(np.sqrt(np.mean((after - before) ** 2)))
                ratio = moved / size if size > 1e-6 else 0.0
                if 0 < ratio < IDLE:
                    text = f"the update of {name} is {ratio:.1e} of its weight: lost in rounding"
                    yield Symptom("update-too-small", event.step, Place(name), text)
                elif ratio > VIOLENT:
                    text = f"the update of {name} is {ratio:.1e} of its weight"
                    yield Symptom("update-too-large", event.step, Place(name), text)

    def _sample(self, ref: TensorRef) -> np.ndarray:
        values = self.trace.array(ref).reshape(-1)
        return np.asarray(values[:: max(1, values.size // _SAMPLE)], np.float64)

    def _activations(self) -> Iterator[Symptom]:
        for op in self.trace.of(OpEvent):
            name = op.name.lower().rstrip("_")
            if name not in ("relu", "relu6", "tanh", "sigmoid") or not op.outputs or op.outputs[0].ref.size < SMALL:
                continue
            stats = self._stats(op.outputs[0].ref)
            if stats is None or stats.nonfinite or stats.maximum is None or stats.rms is None or stats.mean is None:
                continue
            dead = name.startswith("relu") and stats.maximum <= 0
            full = name == "tanh" and stats.rms > SATURATED
            full |= name == "sigmoid" and stats.mean - stats.rms**2 < 0.25 * (1 - SATURATED**2)
            if dead or full:
                place = Place(op.path, op.file, op.line)
                what = "gives nothing but zeros" if dead else "is saturated"
                yield Symptom("activation-saturated", op.step, place, f"{op.name} at {at(place)} {what}", op.name)
