"""The synchronised recording: the candidate starts from the reference's weights and gets its batches and masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.align.parameters import (
    by_root,
    pair_roots,
)  # fmt: skip
from parity.capture.companions import Companion
from parity.capture.frameworks.base import replace_tensors, tensors_in
from parity.capture.lineage import Lineage
from parity.capture.session import Frame
from parity.capture.source import Source
from parity.capture.weights import WeightSynchroniser
from parity.model import (
    AsideEvent,
    BatchEvent,
    CallEvent,
    EnteredEvent,
    Item,
    LossEvent,
    OpEvent,
    RandomEvent,
    SourceEvent,
    TensorRef,
)
from parity.statistics import widen
from parity.trace import Trace, TraceWriter


class Synchroniser(WeightSynchroniser):
    """Records a candidate along its reference.

    Args:
        writer: The open trace of the candidate.
        source: Which files are the script's own.
        steps: Training steps to record.
        reference: The reference's trace.
        free: Only pair the parameters; the candidate keeps its own weights, batches and draws.
        inference: Whether a step is a call of the model that nothing is learned from.
        pins: Layers that the user has paired, by their paths, reference first.
    """

    def __init__(
        self,
        writer: TraceWriter,
        source: Source,
        steps: int,
        reference: Trace,
        *,
        free: bool = False,
        inference: bool = False,
        pins: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(writer, source, steps, reference, free=free, inference=inference, pins=pins)
        self._synced = False
        self._draws: dict[tuple[int, str, int], list[RandomEvent]] = defaultdict(list)
        for event in reference.every(RandomEvent):
            self._draws[(event.step, event.kind, event.ref.size)].append(event)
        self._roots_seen = 0
        self._computed: tuple[int, set[int]] = (-1, set())
        self._replaced: dict[int, tuple[Any, Any]] = {}
        self._lineage = Lineage(self, reference)
        self._glanced = False

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self._dry:
            if self._online is not None:
                self._online.enter(frame, args)
            return super()._on_enter(frame, args, kwargs)
        is_root = any(frame.layer is root for root in self.roots)
        if is_root:
            args, kwargs = self._root_arguments(frame, args, kwargs)
            if not self._synced:
                self._synced = True
                self._synchronise(frame.layer, args, kwargs)
        elif frame.parent is None:
            args, kwargs = self.step_arguments(args, kwargs, untagged=True)
        return super()._on_enter(frame, args, kwargs)

    def _watch(self, frame: Frame, item: Item, tensor: Any) -> None:
        if not self._dry:
            super()._watch(frame, item, tensor)

    def _note_shadows(self) -> None:
        if not self._dry:
            super()._note_shadows()

    def _note_aside(self, layer: Any) -> None:
        self._glanced = self._glanced or not (self._ready or self.busy)
        super()._note_aside(layer)

    def _describe_companion(self, companion: Companion) -> None:
        known = self._companions.get(companion.name)
        if known is None:
            super()._describe_companion(companion)
        elif not self.free:
            self._adoption.load(companion, known)  # the script may have written others since

    def _meet(self, companion: Companion, args: Any, kwargs: Any) -> None:
        info = self._companions[companion.name]
        self._adoption.adopt(companion, info)
        if self.free:
            return
        self._dry = True
        try:
            self._adoption.confirm(companion, info, args, kwargs)
        finally:
            self._dry = False

    def _on_companion(self, companion: Companion, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self._dry:
            return args, kwargs
        if not self._ready and companion.name in self._companions and not self.free:
            self._adoption.load(companion, self._companions[companion.name])
        args, kwargs = super()._on_companion(companion, args, kwargs)
        self._list_companions()
        pair = self._adoption.pairs.get(companion.name)
        known = self._adoption.call(pair.reference, self.step, companion.calls - 1) if pair is not None else None
        if known is None or not self._ready or self.free or self.step >= self.steps:
            return args, kwargs
        computed = self._computed_values(self.step)
        pool = [item.ref for item in known[0] if item.vid not in computed]
        return self._replace(args, kwargs, pool, self._lineage.given, "companion")

    def _note_resting(self, frame: Frame) -> None:
        if not self._dry:
            super()._note_resting(frame)

    def item(self, name: str, tensor: Any, origin: str | None = None) -> Item:
        new = origin is not None and not self._dry and self.adapter.tag(tensor) is None
        found = super().item(name, tensor, origin)
        if new:
            self._lineage.source(found.vid, tensor, self.parameter_name(tensor) is not None)
        return found

    def _on_made(self, event: OpEvent) -> None:
        if not self._dry and event.parent is None:
            self._lineage.made(event)

    def _root_arguments(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        call = self._reference_call(frame)
        if not self._dry:
            self._roots_seen += 1
        if call is None or self.free:
            return args, kwargs
        computed = self._computed_values(call.step)
        pool = [item.ref for item in call.inputs if item.vid not in computed]
        beside = [item.ref for e in self.reference.of(AsideEvent, call.step) for item in e.inputs]
        beside += [s.ref for s in self.reference.of(SourceEvent, call.step) if s.origin == "glimpse"]
        beside = [ref for ref in beside if all(ref.digest != other.digest for other in pool)]

        def fits(tensor: Any) -> bool:
            """What the reference's model is called with without being differentiated stays."""
            values = widen(*self.adapter.read(tensor)) if beside else None
            return values is None or not any(_fits(ref, values) and self._equal(ref, values) for ref in beside)

        return self._replace(args, kwargs, pool, fits, "model")

    def _reference_call(self, frame: Frame) -> CallEvent | None:
        """The reference's call of the same model: the same call of its counterpart, else the next of all."""
        if self._root_pairs is None:
            mine = by_root(list(self._roots_of.values()), self.reference.parameters)
            theirs = by_root([self.path(root) for root in self.roots], self.parameters)
            self._root_pairs = pair_roots(mine, theirs)
        calls, number = self._root_calls.get(self.step, []), self._roots_seen
        if frame.path in self._root_pairs:
            calls = [c for c in calls if self._roots_of[c.layer] == self._root_pairs[frame.path]]
            number = frame.call
        return calls[number] if number < len(calls) else None

    def _computed_values(self, step: int) -> set[int]:
        """Identities of what the reference's models computed in a step: no data, and never put into the candidate."""
        if self._computed[0] != step:
            found: set[int] = set()
            made = [(op.id, op.inputs, op.outputs, bool(op.parameters)) for op in self.reference.of(OpEvent, step)]
            made += [(call.end, [], call.outputs, True) for call in self._root_calls.get(step, [])]
            made += [(-1, [], event.outputs, True) for event in self.reference.of(AsideEvent, step)]
            for _, inputs, outputs, computed in sorted(made, key=lambda record: record[0]):
                if computed or not found.isdisjoint(inputs):
                    found.update(item.vid for item in outputs)
            self._computed = (step, found)
        return self._computed[1]

    def step_arguments(self, args: Any, kwargs: Any, drop: int = 0, untagged: bool = False) -> tuple[Any, Any]:
        """What enters a training step gets the reference's batch.

        Args:
            args: Positional arguments of the differentiated function or the training wrapper.
            kwargs: Its keyword arguments.
            drop: How many of the last positional arguments are not data (a sensitivity).
            untagged: Leave tensors alone that were computed within the step.
        """
        if self.free or self.finished or self.busy or self._dry or self.step >= self.steps:
            return args, kwargs
        pool: list[TensorRef] = []
        computed = self._computed_values(self.step)
        calls = self._root_calls.get(self.step, [])
        pool += [item.ref for call in calls for item in call.inputs if item.vid not in computed]
        last = max((loss.vid for loss in self.reference.of(LossEvent, self.step)), default=None)
        sources = self.reference.of(SourceEvent, self.step)  # those behind the last loss are gradients
        data = [s for s in sources if not s.origin.startswith(("parameter:", "glimpse"))]
        pool += [s.ref for s in data if last is None or s.vid < last]
        ops = self.reference.of(OpEvent, self.step)
        pool += [item.ref for op in ops for item in op.outputs if not op.path and item.vid not in computed]
        pool += [item.ref for batch in self.reference.of(BatchEvent, self.step) for item in batch.items]
        pool += self._lineage.quiet(self.step)
        kept = args[len(args) - drop :] if drop else ()
        fits = (lambda t: self.adapter.tag(t) is None) if untagged else (lambda t: True)
        new, kwargs = self._replace(args[: len(args) - drop], kwargs, pool, fits, "step")
        return (*new, *kept), kwargs

    def _replace(self, args: Any, kwargs: Any, pool: list[TensorRef], fits: Any, place: str) -> tuple[Any, Any]:
        left = list({ref.digest: ref for ref in pool}.values())
        adapter = self.adapter
        busy, self.busy = self.busy, True
        own: dict[int, np.ndarray] = {}
        same: dict[int, TensorRef] = {}
        likely: dict[int, TensorRef] = {}
        given = [new for _, new in self._replaced.values()]
        for _, tensor in tensors_in([args, kwargs], adapter.is_tensor):
            if not fits(tensor) or adapter.is_parameter(tensor) or any(tensor is new for new in given):
                continue
            if place == "step" and self._left_alone(tensor):
                continue
            values, dtype = adapter.read(tensor)
            own[id(tensor)] = widen(values, dtype)
            ref = self._lineage.likely(own[id(tensor)]) if self._lineage.computed(tensor) else None
            if ref is not None:
                likely[id(tensor)] = ref
        glimpses = [s.ref for s in self.reference.of(SourceEvent, self.step) if s.origin == "glimpse"]
        for key, values in own.items():
            equal = [ref for ref in [*pool, *glimpses] if _fits(ref, values) and self._equal(ref, values)]
            if equal:
                same[key] = next((ref for ref in left if ref in equal), equal[0])
                left = [ref for ref in left if ref != same[key]]
        quiet = {ref.digest for ref in self._lineage.quiet(self.step)} if place == "step" else set()
        attempts: set[int] = set()
        for key, values in own.items():
            if quiet and key not in same and key not in likely:
                ref = self._lineage.attempt(values, [ref for ref in pool if ref.digest not in quiet])
                if ref is not None and self._glanced and self.step == 0:
                    likely[key] = ref  # how it was made was not seen
                elif ref is not None:
                    attempts.add(key)

        lengths = _lengths(own, same, left) if place == "step" else None
        if lengths is not None:
            self.facts["batch_sizes"] = list(lengths)

        def replace(_: str, tensor: Any) -> Any:
            if id(tensor) in self._replaced:
                return self._replaced[id(tensor)][1]
            values = own.get(id(tensor))
            if values is None or id(tensor) in attempts:
                return tensor
            if id(tensor) in same:
                self._entered(place, tensor, same[id(tensor)], True)
                return tensor
            ref = likely.get(id(tensor)) or next((ref for ref in left if _fits(ref, values)), None)
            if ref is None and lengths is not None:
                ref = next((ref for ref in left if _fits_rows(ref, values, lengths)), None)
            self._entered(place, tensor, ref, False)
            if ref is None:
                return tensor
            if ref in left:
                left.remove(ref)
            shape = values.shape if ref.size == values.size else (ref.shape[0], *values.shape[1:])
            new = adapter.make(self.reference.array(ref).reshape(shape), tensor)
            self._replaced[id(tensor)] = (tensor, new)
            return new

        new = replace_tensors(tuple(args), replace, adapter.is_tensor)
        named = replace_tensors(kwargs, replace, adapter.is_tensor)
        self.busy = busy
        return new, named

    def _entered(self, place: str, tensor: Any, given: TensorRef | None, same: bool) -> None:
        """Notes what the candidate itself brought: later only what it was given can be seen.

        What its models may have made of weights that were not the reference's yet is no data.
        """
        early = self._glanced and self.step == 0 and place == "step" and not same
        if not self._dry and place != "companion" and not early:
            file, line = self.source.here()
            with self.writer.needed():
                own = self.store(tensor)
            self.writer.event(EnteredEvent(self.step, place, own, given, same, file, line))

    def _left_alone(self, tensor: Any) -> bool:
        """Whether the candidate computed a tensor itself, with models that have the reference's weights."""
        called = [c for c in self.companions.found if c.used == self.step]
        sure = [self._adoption.pairs[c.name].certain for c in called if c.name in self._adoption.pairs]
        return self._synced and len(sure) == len(called) and all(sure) and self._lineage.own_work(tensor)

    def _equal(self, ref: TensorRef, values: np.ndarray) -> bool:
        return bool(np.array_equal(self.reference.array(ref).reshape(values.shape), values))

    def _on_random(self, kind: str, shape: tuple[int, ...], draw: Any) -> Any:
        size = int(np.prod(shape)) if shape else 1
        key = (self.step, kind, size)
        known = self._draws.get(key, [])
        if self.free or self._drawn[key] >= len(known):
            return super()._on_random(kind, shape, draw)
        if not self._dry:  # the candidate's own generator goes on as it would alone
            busy, self.busy = self.busy, True
            draw()
            self.busy = busy
        event = known[self._drawn[key]]
        self._drawn[key] += 1
        if not self._dry:
            values = self.reference.array(event.ref)
            ref = self.writer.put(np.array(values), event.ref.dtype)
            self.writer.event(RandomEvent(self.step, self._randoms, kind, self.here, ref))
            self._randoms += 1
        return np.array(self.reference.array(event.ref)).reshape(shape)

    def _on_step_end(self) -> None:
        super()._on_step_end()
        self._roots_seen = 0
        self._replaced.clear()
        self._lineage.clear()


def _fits(ref: TensorRef, values: np.ndarray) -> bool:
    kinds = {"f": "f", "i": "i", "u": "i", "b": "b", "c": "c"}
    mine = "f" if ref.dtype.startswith(("float", "bfloat")) else "b" if ref.dtype == "bool" else "i"
    if mine != kinds.get(values.dtype.kind):
        return False
    same = tuple(n for n in ref.shape if n != 1) == tuple(n for n in values.shape if n != 1)
    return ref.shape == tuple(values.shape) or same


def _fits_rows(ref: TensorRef, values: np.ndarray, lengths: tuple[int, int]) -> bool:
    """Whether the reference's tensor has the same samples but another number of them."""
    if not values.size or not ref.shape or (values.shape[0], ref.shape[0]) != lengths:
        return False
    return _fits(TensorRef("", ref.dtype, ref.shape[1:]), values[0])


def _lengths(own: dict[int, np.ndarray], same: dict[int, TensorRef], left: list[TensorRef]) -> tuple[int, int] | None:
    """Batch sizes of the candidate and the reference, where every tensor of a step can be had in the other size."""
    batches = [values for key, values in own.items() if key not in same and values.ndim]
    sizes = {values.shape[0] for values in batches}
    others = {ref.shape[0] for ref in left if ref.shape}
    if len(sizes) != 1 or same:
        return None
    (mine,) = sizes
    for other in sorted(others - {mine}):
        free = list(left)
        for values in batches:
            ref = next((ref for ref in free if _fits_rows(ref, values, (mine, other))), None)
            if ref is None:
                break
            free.remove(ref)
        else:
            return mine, other
    return None
