"""Weights of a synchronised recording: pairing the parameters by one dry run, and loading the reference's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from parity.align.nodes import Node, build_nodes, uses
from parity.align.parameters import (
    Mapping,
    NodePair,
    Pair,
    alike,
    map_parameters,
    to_candidate,
)  # fmt: skip
from parity.align.pins import map_pinned
from parity.align.values import distance, lay, layout
from parity.capture.adopt import Adoption
from parity.capture.frameworks.base import tensors_in
from parity.capture.memory import Memory
from parity.capture.plain import kept
from parity.capture.record import Recorder
from parity.capture.session import Frame
from parity.capture.source import Source
from parity.model import (
    CallEvent,
    OpEvent,
)
from parity.statistics import widen
from parity.trace import Trace, TraceWriter

_AGREE = 1e-3
"""Relative distance under which two layers' outputs in a dry run count as the same tensor; faults are judged later."""

_AGREE_HALF = 5e-2
"""The same where one side computes in half precision."""


class WeightSynchroniser(Recorder):
    """Records a candidate from the reference's weights on.

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
        self._online: _Online | None = None
        self._roots_of = {layer.id: layer.path for layer in reference.layers if layer.root}
        self._root_calls: dict[int, list[CallEvent]] = defaultdict(list)
        for call in reference.every(CallEvent):
            if call.layer in self._roots_of:
                self._root_calls[call.step].append(call)
        self._root_pairs: dict[str, str] | None = None
        self._drawn: Counter[tuple[int, str, int]] = Counter()
        self._adoption = Adoption(self, reference)

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

    def _list_companions(self) -> None:
        if self.mapping is not None and self._adoption.pairs:
            self.mapping["companions"] = msgspec.to_builtins(list(self._adoption.pairs.values()))

    def _reference_nodes(self) -> list[Node]:
        trace = self.reference
        types = {layer.path: layer.type for layer in trace.layers if layer.framework}
        return build_nodes(trace.parameters, types, trace.of(CallEvent, 0), trace.of(OpEvent, 0))

    def _nodes(self, memory: Memory) -> list[Node]:
        adapter = self.adapter
        layers = [
            layer for root in self.roots for _, layer in adapter.named_layers(root) if adapter.is_framework_layer(layer)
        ]
        types = {self.path(layer): type(layer).__name__ for layer in layers}
        return build_nodes(self.parameters, types, memory.of(CallEvent), memory.of(OpEvent))

    def _dry_run(self, root: Any, args: Any, kwargs: Any) -> Memory:
        writer, memory = self.writer, Memory()
        before = (list(self.stack), Counter(self._calls), Counter(self._drawn), self._randoms, dict(self._refs))
        self.writer, self._dry = memory, True  # type: ignore[assignment]
        try:
            with kept(layer for each in self.roots for _, layer in self.adapter.named_layers(each)):
                self.adapter.dry(root, lambda: root(*args, **kwargs))
        finally:
            self.writer, self._dry = writer, False
            self.stack, self._calls, self._drawn, self._randoms, self._refs = before
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

    def _agreement(self, mapping: Mapping, reference: list[Node], memory: Memory) -> tuple[int, int]:
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


class _Online:
    """Assigns reference layers to the candidate's while it runs, by equal inputs."""

    def __init__(self, session: Any, mapping: Mapping, reference: list[Node], candidate: list[Node]) -> None:
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
