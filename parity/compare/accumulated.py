"""Two traces without a forced run: the candidate's values against the reference's own, in units of measured noise.

The error of a correct candidate accumulates along the model, and so does the reference's own when everything in it is
moved by a unit of rounding, which its noise passes have measured. What exceeds that by far is a difference; what
exceeds it somewhat may be one, and only the forced run can tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from parity.align.candidate import Candidate, Value, idle_passes, unit_of
from parity.align.parameters import Mapping, to_candidate, to_reference
from parity.align.values import Gap, distance, lay, layout, quick_gap, rms, tame
from parity.compare.faults import Judged
from parity.measured import Measured
from parity.model import (
    BufferEvent,
    CallEvent,
    GradEvent,
    LossEvent,
    OpEvent,
    OptimizerEvent,
    ParameterGradEvent,
    TensorRef,
)
from parity.noise import Key, Noise, read_noise
from parity.tolerance import ROUGH, SCALAR, ratio
from parity.trace import Trace

CLEAN = 20.0
"""Noise units up to which an accumulated error is rounding: one false alarm in 240 correct runs at 20, eleven at 10."""

CLEAR = 64.0
"""Noise units from which it is a difference: between the two only the forced run can decide."""

LARGE = 0.05
"""The relative error that a difference must also have where one sign that rounding flips is amplified: in gradients,
behind the first update, and in what an update changes."""

_SINGLE = 2.0**-24
_AGREE = 1e-4
"""Relative distance under which a tensor inside one layer is the other's output."""

_STAGES = {
    "output": "forward",
    "root": "forward",
    "loss": "loss",
    "gradient": "backward",
    "parameter-gradient": "backward",
    "parameter": "optimizer",
    "buffer": "metrics",
}


class Accumulated(NamedTuple):
    """What two traces show of each other.

    Attributes:
        judged: Every place that both have, flagged where it clearly differs, in order of execution.
        doubtful: Those that may differ.
        missing: Why no match may be said, in words; empty where one may.
        how: What it was judged by, in words.
    """

    judged: list[Judged]
    doubtful: list[Judged]
    missing: list[str]
    how: str = "judged by the accumulated error of two traces, without the forced run"


def accumulated(reference: Trace, candidate: Trace, options: Any) -> Accumulated:
    """Compares two traces that no forced run joins.

    Args:
        reference: The reference's trace, with its noise if a match is to be possible.
        candidate: The candidate's, synchronised with it.
        options: `rtol` and `atol`, where both are given, replace the noise by the fixed rule.

    Raises:
        TraceError: A tensor or the noise cannot be read.
    """
    mapping = mapping_of(reference, candidate)
    if mapping is None:
        how = "capture it with --sync and this reference's trace"
        return Accumulated([], [], [f"the candidate did not start from this reference's weights: {how}"])
    rtol, atol = getattr(options, "rtol", None), getattr(options, "atol", None)
    noise = read_noise(reference.path)
    measured = _Measured(reference, Candidate(candidate, reference, mapping), noise or {}, worst=rtol is not None)
    coarse = max(_coarsest(reference), _coarsest(candidate))
    judged, doubtful = [], []
    for record in measured.records():
        units = ROUGH if record.kind not in ("output", "root", "loss") else 1.0
        floor = units * max(coarse / _SINGLE * record.probe, max(coarse, record.unit) * record.scale)
        if record.kind == "loss":
            floor = max(floor, SCALAR * record.unit * record.scale)
        found = ratio(record.error, floor)
        small = record.error <= LARGE * _size(record)
        amplified = record.step > 0 or record.kind in ("gradient", "parameter-gradient", "parameter", "buffer")
        differs, doubt = found > CLEAR and not (amplified and small), found > CLEAN
        if rtol is not None and atol is not None:
            differs, doubt = record.worst > atol + rtol * record.scale, False
        flagged = bool(record.mismatch) or differs
        judged.append(Judged(record, floor, found, flagged))
        if doubt and not flagged:
            doubtful.append(judged[-1])
    missing = [] if noise else ["the reference's trace has no noise passes: capture it without --no-noise"]
    return Accumulated(judged, doubtful, missing)


def _coarsest(trace: Trace) -> float:
    """The coarsest unit of rounding in a run: the noise passes moved values by float32's, whatever they were."""
    items = [item for event in trace.events if isinstance(event, (OpEvent, CallEvent)) for item in event.outputs]
    return max([_SINGLE, *(unit_of(item.ref.dtype) for item in items if "float" in item.ref.dtype)])


def _size(record: Measured) -> float:
    """What an error is held against: the value, or of a parameter the change that the update made to it."""
    return record.peak if record.kind == "parameter" else record.scale


def mapping_of(reference: Trace, candidate: Trace) -> Mapping | None:
    """The pairs of parameters, if the candidate was given just these values at its start."""
    found = candidate.meta.mapping
    if not found or "agreed" not in found:
        return None
    try:
        mapping = msgspec.convert({k: found[k] for k in ("pairs", "nodes")}, Mapping)
    except (KeyError, msgspec.ValidationError):
        return None
    arrays = {p.name: reference.array(p.ref) for p in reference.parameters if p.ref is not None}
    theirs = {p.name: p for p in candidate.parameters}
    for pair in mapping.pairs:
        info = theirs.get(pair.candidate)
        if info is None or info.ref is None or not {pair.reference, *pair.parts} - {""} <= set(arrays):
            return None
        given = to_candidate(pair, arrays, info.shape)
        if not np.allclose(candidate.array(info.ref), given, rtol=1e-2, atol=1e-6, equal_nan=True):
            return None
    return mapping if mapping.pairs else None


class _Measured:
    """Walks both traces in the reference's order of execution."""

    def __init__(self, reference: Trace, candidate: Candidate, noise: dict[Key, Noise], *, worst: bool) -> None:
        self.reference = reference
        self.candidate = candidate
        self.noise = noise
        self.worst = worst
        self.shapes = {p.name: p.shape for p in reference.parameters}
        self.roots = {layer.id for layer in reference.layers if layer.root}
        self.updates: dict[int, dict[str, tuple[OptimizerEvent, str]]] = defaultdict(dict)
        self.scales: dict[int, float] = {}

    def records(self) -> Iterator[Measured]:
        """Every place that both traces have: of each step the forward pass, the loss, the backward pass, the update."""
        gradients = {(g.step, g.call, g.item): g.ref for g in self.reference.of(GradEvent)}
        idle = {step: {call.id for _, call in calls} for step, calls in idle_passes(self.reference).items()}
        spans = [(call.id, call.end) for calls in idle_passes(self.reference).values() for _, call in calls]
        steps: dict[int, list[tuple[CallEvent, int]]] = defaultdict(list)
        counts: dict[tuple[int, str], int] = defaultdict(int)
        for call in sorted(self.reference.of(CallEvent), key=lambda c: c.id):
            if call.id in idle.get(call.step, ()) or any(start < call.id < end for start, end in spans):
                continue
            steps[call.step].append((call, counts[(call.step, call.path)]))
            counts[(call.step, call.path)] += 1
        last = self.candidate.trace.meta.steps
        for step in sorted(s for s in steps if s < last):
            found = [pair for call, number in steps[step] for pair in self._call(call, number, gradients)]
            yield from (forward for forward, _ in sorted(found, key=lambda pair: pair[0].order))
            yield from self._losses(step)
            yield from (g for _, g in sorted(found, key=lambda pair: -pair[0].order) if g is not None)
            yield from self._parameter_gradients(step)
            yield from self._updates(step)
            yield from self._buffers(step)

    def _call(
        self, call: CallEvent, number: int, gradients: dict[tuple[int, int, str], TensorRef]
    ) -> Iterator[tuple[Measured, Measured | None]]:
        for index, item in enumerate(call.outputs):
            if "float" not in item.ref.dtype:
                continue
            kind = "output"
            if call.layer in self.roots:
                kind = "root"
                calls = self.candidate.root_calls.get((call.step, call.path), [])
                value = self.candidate.item_of(calls[number], item.name, index) if number < len(calls) else None
            elif self.candidate.same_function(call.path):
                value = self.candidate.output(call.step, call.path, number, item.name, index)
            else:
                continue
            if value is None:
                continue
            key = (call.step, "output", call.path, call.call, item.name)
            mine = self.reference.array(item.ref)
            gap = quick_gap(value.array, mine)
            how = ("same", ()) if gap is not None and gap.relative < _AGREE else layout(value.array, mine)
            if how is None and not call.path:
                continue
            if not (gap is not None and gap.relative < _AGREE) and self._fused(value, mine, how):
                continue
            theirs = value.array if how is None else lay(value.array, how)
            record = self._record(key, kind, mine, theirs, value.unit, gap if how == ("same", ()) else None)
            record.candidate, record.event, record.order = value.path, value.event, call.end
            back = gradients.get((call.step, call.id, item.name))
            gradient = None
            if back is not None and value.gradient is not None and how is not None:
                theirs = lay(value.gradient, how, gradient=True) / self._scale(call.step)
                place = (call.step, "gradient", call.path, call.call, item.name)
                gradient = self._record(place, "gradient", self.reference.array(back), theirs, value.unit)
                gradient.candidate, gradient.event = value.path, value.event
            yield record, gradient

    def _fused(self, value: Value, mine: np.ndarray, how: tuple[str, tuple[int, ...]] | None) -> bool:
        """Whether the candidate's layer goes on where the reference's ends, with an activation of its own."""
        if how is not None and distance(lay(value.array, how), mine) < _AGREE:
            return False
        call = next((c for c in self.candidate.trace.of(CallEvent) if c.id == value.event), None)
        for op in self.candidate.trace.of(OpEvent, call.step) if call is not None else ():
            if call is not None and call.id < op.id < call.end:
                for item in op.outputs:
                    if item.ref.size == mine.size and "float" in item.ref.dtype:
                        other = self.candidate.array(item.ref)
                        inner = layout(other, mine)
                        if inner is not None and distance(lay(other, inner), mine) < _AGREE:
                            return True
        return False

    def _record(
        self, key: Key, kind: str, mine: np.ndarray, theirs: np.ndarray, unit: float, quick: Gap | None = None
    ) -> Measured:
        step, _, path, call, item = key
        record = Measured(step, _STAGES[kind], kind, path, call, item, "", -1, unit=max(unit, 2.0**-24))
        record.shape, record.candidate_shape = tuple(mine.shape), tuple(theirs.shape)
        if mine.shape != theirs.shape:
            record.mismatch = "shape"
            return record
        noise = self.noise.get(key)
        record.probe = noise.noise if noise is not None else 0.0
        quick = None if self.worst else quick or quick_gap(theirs, mine)
        if quick is not None:
            record.error, record.scale, record.accumulated = quick.error, quick.scale, quick.relative
            return record
        wide, other = tame(np.asarray(mine, np.float64)), tame(np.asarray(theirs, np.float64))
        with np.errstate(invalid="ignore", over="ignore"):
            difference = other - wide
        bad = ~np.isfinite(difference)
        if bad.any():
            if not np.array_equal(other[bad], wide[bad], equal_nan=True):
                record.mismatch = "nonfinite"
            difference = np.where(bad, 0.0, difference)
        record.error, record.scale = rms(difference), rms(wide)
        record.worst = float(np.abs(difference).max(initial=0.0))
        record.accumulated = record.error / record.scale if record.scale else record.error
        return record

    def _scale(self, step: int) -> float:
        """The power of two by which the candidate scaled its loss on purpose."""
        if step not in self.scales:
            self.scales[step] = 1.0
            for loss in self.reference.of(LossEvent, step):
                ref = self.candidate.loss_of(loss.step, loss.backward)
                mine = float(np.asarray(self.reference.array(loss.ref)).reshape(-1)[0]) if loss.ref.size == 1 else 0.0
                if ref is None or ref.size != 1 or not mine:
                    continue
                times = float(np.asarray(self.candidate.array(ref)).reshape(-1)[0]) / mine
                power = round(np.log2(times)) if np.isfinite(times) and times > 1.5 else 0
                if power and abs(times / 2.0**power - 1) < 0.03 and self.candidate.scales_loss(step, 2.0**power):
                    self.scales[step] = 2.0**power
        return self.scales[step]

    def _losses(self, step: int) -> Iterator[Measured]:
        for loss in self.reference.of(LossEvent, step):
            ref = self.candidate.loss_of(loss.step, loss.backward)
            if ref is not None:
                mine = self.reference.array(loss.ref)
                theirs = self.candidate.array(ref) / self._scale(step)
                laid = theirs.reshape(mine.shape) if theirs.size == mine.size else theirs
                yield self._record((step, "loss", "", loss.backward, ""), "loss", mine, laid, 2.0**-24)

    def _parameter_gradients(self, step: int) -> Iterator[Measured]:
        events: dict[int, list[ParameterGradEvent]] = defaultdict(list)
        for event in self.reference.of(ParameterGradEvent, step):
            events[event.backward].append(event)
        for backward, mine in events.items():
            theirs = self._mapped(self.candidate.gradients_of(step, backward))
            for event in mine:
                if event.name in theirs:
                    key = (step, "parameter-gradient", event.name, backward, "")
                    other = theirs[event.name] / self._scale(step)
                    yield self._named(key, "parameter-gradient", self.reference.array(event.ref), other)

    def _updates(self, step: int) -> Iterator[Measured]:
        theirs: dict[str, TensorRef] = {}
        for event in self.candidate.optimizers.get(step, []):
            theirs |= event.after
        other = self._mapped(theirs)
        for event in self.reference.of(OptimizerEvent, step):
            for name, ref in event.after.items():
                if name in other:
                    mine = self.reference.array(ref)
                    record = self._named((step, "parameter", name, event.index, ""), "parameter", mine, other[name])
                    record.peak = rms(mine - self.reference.array(event.before[name])) if name in event.before else 0.0
                    yield record

    def _buffers(self, step: int) -> Iterator[Measured]:
        theirs = self._mapped(self.candidate.buffers.get(step, {}))
        for event in self.reference.of(BufferEvent, step):
            for name, ref in event.values.items():
                if name in theirs and "float" in ref.dtype:
                    yield self._named((step, "buffer", name, 0, ""), "buffer", self.reference.array(ref), theirs[name])

    def _mapped(self, refs: dict[str, TensorRef]) -> dict[str, np.ndarray]:
        return to_reference(self.candidate.mapping, self.candidate.arrays(refs), self.shapes)

    def _named(self, key: Key, kind: str, mine: np.ndarray, theirs: np.ndarray) -> Measured:
        record = self._record(key, kind, mine, theirs, 2.0**-24)
        pairs = self.candidate.mapping.pairs
        pair = next((p for p in pairs if p.reference == key[2] or key[2] in p.parts), None)
        record.candidate = pair.candidate if pair else ""
        return record
