"""A first look: two runs by the statistics of their tensors alone, which differ clearly or say nothing.

The mean and the RMS of a tensor do not depend on its layout. Equal ones do not make equal tensors, so that a match is
never said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from parity.align.candidate import Candidate, idle_passes
from parity.compare.accumulated import Accumulated, mapping_of
from parity.compare.faults import Judged
from parity.measured import Measured
from parity.model import CallEvent, Item, LossEvent, ParameterGradEvent, TensorRef
from parity.trace import Trace

FORWARD = 1e-3
"""Relative difference of mean or RMS from which the first step's forward pass differs: rounding stays under 1e-5."""

LATER = 0.05
"""The same for gradients, and behind the first update, where rounding may flip signs."""

SMALL = 1e-4
"""Gradients below this part of the largest one are not looked at."""

HOW = "a first look by statistics"

WHY = "only statistics were compared, which never make a match: leave out --summary"


def summarised(reference: Trace, candidate: Trace) -> Accumulated:
    """Compares two runs by their tensors' statistics.

    Args:
        reference: The reference's trace.
        candidate: The candidate's, synchronised with it.
    """
    mapping = mapping_of(reference, candidate)
    if mapping is None:
        return Accumulated([], [], ["the candidate did not start from this reference's weights", WHY], HOW)
    look = _Look(reference, Candidate(candidate, reference, mapping))
    judged = []
    for record in look.records():
        limit = FORWARD if record.step == 0 and record.kind in ("output", "root", "loss") else LATER
        record.probe = limit * record.scale
        found = record.error / record.probe if record.probe else 0.0
        judged.append(Judged(record, record.probe, found, bool(record.mismatch) or found > 1))
    return Accumulated(judged, [], [WHY], HOW)


class _Look:
    """Walks the reference's records and finds the candidate's counterparts."""

    def __init__(self, reference: Trace, candidate: Candidate) -> None:
        self.reference = reference
        self.candidate = candidate
        self.mine = reference.statistics()
        self.theirs = candidate.trace.statistics()
        self.roots = {layer.id for layer in reference.layers if layer.root}
        self.ops = candidate.ops

    def records(self) -> Iterator[Measured]:
        """Layers' outputs, losses and gradients that both have, in the reference's order of execution."""
        idle = {step: {call.id for _, call in calls} for step, calls in idle_passes(self.reference).items()}
        seen: dict[tuple[int, str], int] = defaultdict(int)
        for call in sorted(self.reference.of(CallEvent), key=lambda c: (c.step, c.end)):
            if call.id not in idle.get(call.step, ()) and call.step < self.candidate.trace.meta.steps:
                yield from self._outputs(call, seen[(call.step, call.path)])
                seen[(call.step, call.path)] += 1
        for loss in self.reference.of(LossEvent):
            other = self.candidate.loss_of(loss.step, loss.backward)
            if other is not None and not self.candidate.trace.meta.environment.get("loss_scale"):
                yield from self._compared(loss.step, "loss", "loss", "", "", loss.ref, other)
        gradients = list(self._gradients())
        largest = max([0.0, *(_number(self.mine[g[4].digest].rms) for g in gradients if g[4].digest in self.mine)])
        for kind, path, theirs, step, mine, other in gradients:
            for record in self._compared(step, "backward", kind, path, theirs, mine, other):
                if record.scale > SMALL * largest:  # one that is zero by structure is nothing but rounding
                    yield record

    def _outputs(self, call: CallEvent, number: int) -> Iterator[Measured]:
        root = call.layer in self.roots
        target = self.candidate.targets.get(call.path)
        if root:
            calls = self.candidate.root_calls.get((call.step, call.path), [])
        elif target is not None and len(target.paths) == 1 and target.rows is None:
            calls = self.candidate.calls.get((call.step, target.paths[0]), [])
        else:
            return
        if number >= len(calls) or not (root or self.candidate.same_function(call.path)):
            return
        theirs = calls[number]
        for index, item in enumerate(call.outputs):
            other = _counterpart(theirs, item, index)
            if other is None or (not self._alike(item.ref, other.ref) and self._inside(item.ref, theirs)):
                continue
            kind = "root" if root else "output"
            yield from self._compared(call.step, "forward", kind, call.path, theirs.path, item.ref, other.ref)

    def _inside(self, mine: TensorRef, call: CallEvent) -> bool:
        """Whether an op within the candidate's layer made this: the layer goes on with an activation of its own."""
        for op in self.ops[call.step]:
            if call.id < op.id < call.end and any(self._alike(mine, item.ref) for item in op.outputs):
                return True
        return False

    def _alike(self, mine: TensorRef, other: TensorRef) -> bool:
        found = self._difference(mine, other)
        return mine.size == other.size and found is not None and found[0] <= FORWARD / 10 * found[1]

    def _gradients(self) -> Iterator[tuple[str, str, str, int, TensorRef, TensorRef]]:
        if self.candidate.trace.meta.environment.get("loss_scale"):
            return
        pairs = {pair.reference: pair.candidate for pair in self.candidate.mapping.pairs if pair.reference}
        for event in self.reference.of(ParameterGradEvent):
            other = self.candidate.gradients_of(event.step, event.backward).get(pairs.get(event.name, ""))
            if other is not None:
                yield "parameter-gradient", event.name, pairs[event.name], event.step, event.ref, other

    def _compared(
        self, step: int, stage: str, kind: str, path: str, theirs: str, mine: TensorRef, other: TensorRef
    ) -> Iterator[Measured]:
        record = Measured(step, stage, kind, path, 0, "", theirs, -1)
        record.shape, record.candidate_shape = mine.shape, other.shape
        if mine.size != other.size:
            record.mismatch = "shape"
            yield record
            return
        found = self._difference(mine, other)
        if found is not None:
            record.error, record.scale = found
            yield record

    def _difference(self, mine: TensorRef, other: TensorRef) -> tuple[float, float] | None:
        """The larger difference of mean and RMS, and the RMS; None where there are no statistics of both."""
        if mine.digest == other.digest:
            return 0.0, 1.0
        a, b = self.mine.get(mine.digest), self.theirs.get(other.digest)
        if a is None or b is None or None in (a.rms, b.rms, a.mean, b.mean) or a.nonfinite != b.nonfinite:
            return None
        return max(abs(_number(a.rms) - _number(b.rms)), abs(_number(a.mean) - _number(b.mean))), _number(a.rms)


def _number(value: float | None) -> float:
    return value or 0.0


def _counterpart(call: CallEvent, item: Item, index: int) -> Item | None:
    named = next((other for other in call.outputs if other.name == item.name), None)
    return named or (call.outputs[index] if index < len(call.outputs) else None)
