"""The synchronised recording: the candidate starts from the reference's weights and gets its batches and masks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import msgspec
import numpy as np

from parity.align.nodes import Node, build_nodes, uses
from parity.align.parameters import (
    Mapping,
    NodePair,
    Pair,
    alike,
    by_root,
    map_parameters,
    pair_roots,
    to_candidate,
)  # fmt: skip
from parity.align.pins import map_pinned
from parity.align.values import distance, lay, layout
from parity.capture.adopt import Adoption
from parity.capture.companions import Companion
from parity.capture.frameworks.base import replace_tensors, tensors_in
from parity.capture.lineage import Lineage
from parity.capture.plain import plain_attributes, restore
from parity.capture.record import Recorder
from parity.capture.session import Frame
from parity.capture.source import Source
from parity.digest import digest_of
from parity.model import (
    AsideEvent,
    BatchEvent,
    CallEvent,
    EnteredEvent,
    Event,
    Item,
    LossEvent,
    OpEvent,
    RandomEvent,
    SourceEvent,
    TensorRef,
)
from parity.statistics import widen
from parity.trace import Trace, TraceWriter

_AGREE = 1e-3
"""Relative distance under which two layers' outputs in a dry run count as the same tensor; faults are judged later."""

_AGREE_HALF = 5e-2
"""The same where one side computes in half precision."""


class _Memory:
    """Stands in for the trace's writer during a dry run."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, array: np.ndarray, dtype: str | None = None) -> TensorRef:
        ref = TensorRef(digest_of(array, dtype or array.dtype.name), dtype or array.dtype.name, tuple(array.shape))
        if ref.digest not in self.arrays:
            self.arrays[ref.digest] = widen(np.array(array), ref.dtype)
        return ref

    def needed(self) -> nullcontext[None]:
        return nullcontext()

    def event(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]


class Synchroniser(Recorder):
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
        super().__init__(writer, source, steps, inference)
        self.reference = reference
        self.free = free
        self.pins = pins
        self.mapping: dict[str, Any] | None = None
        self.unmapped: list[str] = []
        self._dry = False
        self._synced = False
        self._online: _Online | None = None
        self._draws: dict[tuple[int, str, int], list[RandomEvent]] = defaultdict(list)
        for event in reference.every(RandomEvent):
            self._draws[(event.step, event.kind, event.ref.size)].append(event)
        self._drawn: Counter[tuple[int, str, int]] = Counter()
        self._roots_of = {layer.id: layer.path for layer in reference.layers if layer.root}
        self._root_calls: dict[int, list[CallEvent]] = defaultdict(list)
        for call in reference.every(CallEvent):
            if call.layer in self._roots_of:
                self._root_calls[call.step].append(call)
        self._roots_seen = 0
        self._root_pairs: dict[str, str] | None = None
        self._computed: tuple[int, set[int]] = (-1, set())
        self._replaced: dict[int, tuple[Any, Any]] = {}
        self._adoption = Adoption(self, reference)
        self._lineage = Lineage(self, reference)
        self._glanced = False

    # Weights --------------------------------------------------------------------------------------------------

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

    def _list_companions(self) -> None:
        if self.mapping is not None and self._adoption.pairs:
            self.mapping["companions"] = msgspec.to_builtins(list(self._adoption.pairs.values()))

    def item(self, name: str, tensor: Any, origin: str | None = None) -> Item:
        new = origin is not None and not self._dry and self.adapter.tag(tensor) is None
        found = super().item(name, tensor, origin)
        if new:
            self._lineage.source(found.vid, tensor, self.parameter_name(tensor) is not None)
        return found

    def _on_made(self, event: OpEvent) -> None:
        if not self._dry and event.parent is None:
            self._lineage.made(event)

    def _smallest(self, layers: list[Any]) -> Any:
        """Of several that hold all that is trained, the one that holds as much as the reference's model."""
        models = {layer.path for layer in self.reference.layers if layer.root}
        if len(models) != 1:
            return super()._smallest(layers)
        wanted = sum(not p.buffer for p in self.reference.parameters)
        trained = {id(p) for o in self.optimizers for p in self.adapter.optimizer_parameters(o)}
        inside = [part for layer in layers for _, part in self.adapter.named_layers(layer)]
        for options in (layers, inside):
            held = [[h for h in self.adapter.held(layer) if not h.buffer] for layer in options]
            fitting = [
                layer for layer, own in zip(options, held, strict=True)
                if len(own) == wanted and {id(h.tensor) for h in own} >= trained
            ]  # fmt: skip
            if fitting:
                return super()._smallest(fitting)
        return super()._smallest(layers)

    def _synchronise(self, root: Any, args: Any, kwargs: Any) -> None:
        reference = self._reference_nodes()
        memory = self._dry_run(root, args, kwargs)
        candidate = self._nodes(memory)
        mapping = map_pinned(reference, candidate, self.pins)
        if self.free:
            self.mapping = msgspec.to_builtins(mapping)
            return
        self._load(mapping)
        memory = self._dry_run(root, args, kwargs)
        agreed, total = self._agreement(mapping, reference, memory)
        if agreed < total and not self.pins:
            better = self._by_values(mapping, reference, candidate, root, args, kwargs)
            self._load(better)
            again, _ = self._agreement(better, reference, self._dry_run(root, args, kwargs))
            if again > agreed:
                mapping, agreed = better, again
            else:
                self._load(mapping)
        self._name_parameters()
        self.busy = True
        done = {pair.candidate for pair in mapping.pairs}
        for held, info in zip(self.held, self.parameters, strict=True):
            with self.writer.needed():
                info.ref = self.store(held.tensor)
            if info.name not in done and not info.name.endswith("num_batches_tracked"):
                self.unmapped.append(info.name)
        self.busy = False
        self.mapping = {**msgspec.to_builtins(mapping), "agreed": agreed, "compared": total}
        for companion in self.companions.found:
            self._adoption.settle(companion, self._companions[companion.name])
        self._list_companions()
        self._name_parameters()

    def _reference_nodes(self) -> list[Node]:
        trace = self.reference
        types = {layer.path: layer.type for layer in trace.layers if layer.framework}
        return build_nodes(trace.parameters, types, trace.of(CallEvent, 0), trace.of(OpEvent, 0))

    def _nodes(self, memory: _Memory) -> list[Node]:
        adapter = self.adapter
        layers = [
            layer for root in self.roots for _, layer in adapter.named_layers(root) if adapter.is_framework_layer(layer)
        ]
        types = {self.path(layer): type(layer).__name__ for layer in layers}
        return build_nodes(self.parameters, types, memory.of(CallEvent), memory.of(OpEvent))

    def _dry_run(self, root: Any, args: Any, kwargs: Any) -> _Memory:
        writer, memory = self.writer, _Memory()
        kept = (list(self.stack), Counter(self._calls), Counter(self._drawn), self._randoms, dict(self._refs))
        self.writer, self._dry = memory, True  # type: ignore[assignment]
        attributes = plain_attributes(layer for each in self.roots for _, layer in self.adapter.named_layers(each))
        try:
            self.adapter.dry(root, lambda: root(*args, **kwargs))
        finally:
            restore(attributes)
            self.writer, self._dry = writer, False
            self.stack, self._calls, self._drawn, self._randoms, self._refs = kept
            self.adapter.forget_tags()
            self._name_parameters()
        return memory

    def _load(self, mapping: Mapping) -> None:
        arrays = {p.name: self.reference.array(p.ref) for p in self.reference.parameters if p.ref is not None}
        shapes = {p.name: p.shape for p in self.parameters}
        tensors = {h.names[0]: h.tensor for h in self.held}
        busy, self.busy = self.busy, True
        for pair in mapping.pairs:
            self.adapter.assign(tensors[pair.candidate], to_candidate(pair, arrays, shapes[pair.candidate]))
        self.busy = busy
        self._name_parameters()

    def _agreement(self, mapping: Mapping, reference: list[Node], memory: _Memory) -> tuple[int, int]:
        candidate = {node.path: node for node in self._nodes(memory)}
        mine = {node.path: node for node in reference}
        agreed = total = 0
        for pair in mapping.nodes:
            if len(pair.reference) == len(pair.candidate) == 1:
                r, c = uses(mine[pair.reference[0]], candidate[pair.candidate[0]])
                if r is None or c is None or r.output is None or c.output is None or not (r.called and c.called):
                    continue
                if r.output.ref not in self.reference:
                    continue  # a summary, which has no values
                expected, found = self.reference.array(r.output.ref), memory.arrays[c.output.ref.digest]
                how = layout(found, expected)
                half = any(dtype in ("float16", "bfloat16") for dtype in (r.output.ref.dtype, c.output.ref.dtype))
                total += 1
                agreed += how is not None and distance(lay(found, how), expected) < (_AGREE_HALF if half else _AGREE)
        return agreed, total

    def _by_values(
        self, mapping: Mapping, reference: list[Node], candidate: list[Node], root: Any, args: Any, kwargs: Any
    ) -> Mapping:
        """Assigns layers again while a dry run calls them: each takes the reference layer that had the same input."""
        self._online = _Online(self, mapping, reference, candidate)
        try:
            self._dry_run(root, args, kwargs)
        finally:
            online, self._online = self._online, None
        return online.result()

    # Batches and draws ----------------------------------------------------------------------------------------

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


class _Online:
    """Assigns reference layers to the candidate's while it runs, by equal inputs."""

    def __init__(self, session: Synchroniser, mapping: Mapping, reference: list[Node], candidate: list[Node]) -> None:
        self.session = session
        self.mapping = mapping
        self.mine = {node.path: node for node in reference}
        self.theirs = {node.path: node for node in candidate}
        single = [n for n in mapping.nodes if len(n.reference) == len(n.candidate) == 1]
        self.partner = {n.candidate[0]: n.reference[0] for n in single}
        self.free = set(self.partner.values())
        self.chosen: dict[str, str] = {}

    def enter(self, frame: Frame, args: Any) -> None:
        """A layer is about to run: give it the weights of the reference layer that had this input."""
        path = frame.path
        if path not in self.partner or path in self.chosen:
            return
        session = self.session
        found = next((t for _, t in tensors_in(list(args), session.adapter.is_tensor)), None)
        if found is None:
            return
        session.busy = True
        values = widen(*session.adapter.read(found))
        session.busy = False
        node = self.theirs[path]
        options = []
        for name in self.free:
            other = self.mine[name]
            if other.signature != node.signature or other.use is None or other.use.input is None:
                continue
            if other.use.input.ref not in session.reference:
                continue
            expected = session.reference.array(other.use.input.ref)
            how = layout(values, expected)
            if how is not None and distance(lay(values, how), expected) < _AGREE:
                options.append(name)
        if not options:
            return
        usual = self.partner[path]
        best = usual if usual in options else max(options, key=lambda name: alike(name, path))
        self.chosen[path] = best
        self.free.discard(best)
        session._load(Mapping(self._pairs(path, best), []))

    def _pairs(self, path: str, name: str) -> list[Pair]:
        return map_parameters([self.mine[name]], [self.theirs[path]]).pairs

    def result(self) -> Mapping:
        """The mapping after the run; layers that could not be told by value keep their partner where it is free."""
        for path, usual in self.partner.items():
            if path not in self.chosen and usual in self.free:
                self.chosen[path] = usual
                self.free.discard(usual)
        for path in self.partner:
            if path not in self.chosen:
                fitting = [n for n in self.free if self.mine[n].signature == self.theirs[path].signature]
                if fitting:
                    self.chosen[path] = min(fitting, key=lambda n: self.mine[n].order)
                    self.free.discard(self.chosen[path])
        old = {
            n.candidate[0]: n for n in self.mapping.nodes if len(n.candidate) == 1 and n.candidate[0] in self.partner
        }
        nodes = [n for n in self.mapping.nodes if n not in old.values()]
        moved: set[str] = set()
        pairs: list[Pair] = []
        for path, name in self.chosen.items():
            same = self.partner[path] == name
            how = old[path].how if same else "values of the first step"
            nodes.append(NodePair([name], [path], how, 0.99))
            for pair in self._pairs(path, name):
                pairs.append(pair)
                moved.add(pair.candidate)
        pairs += [p for p in self.mapping.pairs if p.candidate not in moved]
        return Mapping(pairs, nodes)
