"""The candidate's recorded values, asked for by the reference's names."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

from parity.align.nodes import kind_of
from parity.align.parameters import Mapping, by_root, pair_roots
from parity.align.passes import parts
from parity.align.values import Index, Sketch, distance, lay, layout
from parity.measured import Measured
from parity.model import (
    AsideEvent,
    BufferEvent,
    CallEvent,
    GradEvent,
    Item,
    LossEvent,
    OpEvent,
    OptimizerEvent,
    ParameterGradEvent,
    SourceEvent,
    TensorRef,
)  # fmt: skip
from parity.trace import Trace

_HALF = ("float16", "bfloat16")
UNITS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 2.0**-53}
"""Half the distance from 1 to the next number, by element type; 2^-24 (float32) for all others."""


_FAMILIES = ("relu6", "leakyrelu", "prelu", "relu", "gelu", "silu", "sigmoid", "tanh", "softmax", "maxpool", "avgpool")


def family_of(type_name: str) -> str | None:
    """The family of a parameterless layer's class, where it has one that both frameworks know."""
    lower = type_name.lower().replace("swish", "silu").replace("adaptive", "")
    return next((family for family in _FAMILIES if family in lower), None)


def unit_of(dtype: str) -> float:
    """The unit of rounding of an element type."""
    return UNITS.get(dtype, 2.0**-24)


class Value(NamedTuple):
    """A recorded tensor with its gradient, and where it stands."""

    array: np.ndarray
    gradient: np.ndarray | None
    path: str
    event: int
    unit: float


class Target(NamedTuple):
    """What corresponds to a layer of the reference: one layer, several to be joined, or rows of one."""

    paths: list[str]
    rows: tuple[int, int] | None


class Candidate:
    """Reads a candidate's trace by the reference's layer paths and parameter names.

    Args:
        trace: The candidate's trace.
        reference: The reference's trace.
        mapping: The parameters' correspondence.
    """

    def __init__(self, trace: Trace, reference: Trace, mapping: Mapping) -> None:
        self.trace = trace
        self.mapping = mapping
        self.types = {layer.path: layer.type if layer.framework else "" for layer in trace.layers}
        self.reference_types = {layer.path: layer.type if layer.framework else "" for layer in reference.layers}
        idle = [(call.id, call.end) for calls in idle_passes(trace).values() for _, call in calls]
        idle += [(call.id, call.end) for call in beside(reference, trace)]
        self.half = any(item.ref.dtype in _HALF for op in reference.of(OpEvent, 0) for item in op.outputs)
        self.calls: dict[tuple[int, str], list[CallEvent]] = defaultdict(list)
        roots = {layer.id: layer.path for layer in trace.layers if layer.root}
        own = by_root([layer.path for layer in reference.layers if layer.root], reference.parameters)
        pairs = pair_roots(own, by_root(list(roots.values()), trace.parameters))
        self.root_calls: dict[tuple[int, str], list[CallEvent]] = defaultdict(list)
        for call in sorted(trace.every(CallEvent), key=lambda c: c.id):
            if any(start <= call.id <= end for start, end in idle):
                continue
            if call.path or call.layer in roots:
                self.calls[(call.step, call.path)].append(call)
            if call.layer in roots:
                for root in [pairs[roots[call.layer]]] if roots[call.layer] in pairs else own:
                    self.root_calls[(call.step, root)].append(call)
        self.ops: dict[int, list[OpEvent]] = defaultdict(list)
        for op in trace.every(OpEvent):
            if not any(start <= op.id <= end for start, end in idle):
                self.ops[op.step].append(op)
        self.gradients = {(g.step, g.call, g.item): g.ref for g in trace.of(GradEvent)}
        self.losses = {(e.step, e.backward): e.ref for e in trace.of(LossEvent)}
        self.backward: dict[tuple[int, int], dict[str, TensorRef]] = defaultdict(dict)
        for grad in trace.of(ParameterGradEvent):
            self.backward[(grad.step, grad.backward)][grad.name] = grad.ref
        self.optimizers: dict[int, list[OptimizerEvent]] = defaultdict(list)
        for event in trace.of(OptimizerEvent):
            self.optimizers[event.step].append(event)
        self.buffers = {e.step: e.values for e in trace.every(BufferEvent)}
        self.targets = self._targets(reference)
        self.containers = self._containers(reference)
        self._reference = reference
        self._times = tuple(Counter((c.step, c.path) for c in side.of(CallEvent)) for side in (reference, trace))
        self.parts = parts(reference, trace, self._equally_called())
        self._reference_calls = {(c.step, c.path, c.call): c for c in reference.every(CallEvent)}
        self._by_output: dict[tuple[int, str], list[CallEvent]] = defaultdict(list)
        for calls in self.calls.values():
            for call in calls:
                read = {item.vid for item in call.inputs}
                if len(call.outputs) == 1 and call.outputs[0].vid not in read:
                    self._by_output[(call.step, call.outputs[0].ref.digest)].append(call)
        self._all_types = {layer.path: layer.type for layer in trace.layers}
        self._treatments: dict[tuple[bool, int], float | None] = {}
        self._units: dict[int, float] = {}
        for op in trace.every(OpEvent):
            if op.parent is not None:
                for item in op.outputs:
                    if item.ref.dtype in UNITS:
                        self._units[op.parent] = max(self._units.get(op.parent, 0.0), unit_of(item.ref.dtype))

    def times_called(self, step: int, path: str) -> tuple[int, int]:
        """How often a layer of the reference and its counterpart are called in a step, whatever comes of it."""
        target = self.targets.get(path)
        return self._times[0][step, path], self._times[1][step, target.paths[0]] if target is not None else 0

    def _equally_called(self) -> set[int]:
        """The steps in which some layer is called as often as its counterpart."""
        steps = set()
        for step, path in self._times[0]:
            own, other = self.times_called(step, path)
            if own == other:
                steps.add(step)
        return steps

    def counterpart(self, step: int, backward: int) -> int | None:
        """The candidate's backward pass for one of the reference's; None where only sums of several compare."""
        part = self.parts.get((step, backward))
        if part is None:
            return backward
        return None if part.merged else part.number

    def loss_of(self, step: int, backward: int) -> TensorRef | None:
        """The candidate's loss of one of the reference's backward passes, where it has one for it alone."""
        number = self.counterpart(step, backward)
        return None if number is None else self.losses.get((step, number))

    def gradients_of(self, step: int, backward: int) -> dict[str, TensorRef]:
        """The gradients of the same pass by the candidate's names."""
        number = self.counterpart(step, backward)
        return {} if number is None else self.backward.get((step, number), {})

    def loss_of_reference(self, step: int, passes: tuple[int, ...]) -> np.ndarray:
        """The sum of the losses that the reference's own run had in some passes of a step; float64, no dimensions."""
        own = [e.ref for e in self._reference.of(LossEvent, step) if e.backward in passes]
        return np.asarray(sum(float(np.sum(self._reference.array(ref), dtype=np.float64)) for ref in own))

    def _targets(self, reference: Trace) -> dict[str, Target]:
        found: dict[str, Target] = {}
        rows = {p.candidate: p for p in self.mapping.pairs}
        shapes = {p.name: p.shape for p in reference.parameters}
        for node in self.mapping.nodes:
            if len(node.reference) == 1:
                found[node.reference[0]] = Target(node.candidate, None)
            else:
                start = 0
                for path in node.reference:
                    pair = rows.get(f"{node.candidate[0]}.weight")
                    name = next((n for n in (pair.parts if pair else []) if n.rpartition(".")[0] == path), None)
                    stop = start + (shapes[name][0] if name else 0)
                    if name:
                        found[path] = Target(node.candidate, (start, stop))
                    start = stop
        return found

    def _containers(self, reference: Trace) -> dict[str, list[str]]:
        """Layers of the candidate that hold just the counterparts of what a reference layer holds, outermost first."""
        pairs: dict[str, set[str]] = defaultdict(set)
        for pair in self.mapping.pairs:
            for name in [pair.reference] if pair.reference else pair.parts:
                pairs[name].add(pair.candidate)
        inside: dict[frozenset[str], list[str]] = defaultdict(list)
        own = [name for p in self.trace.parameters if p.trainable for name in p.names]
        for layer in sorted(self.trace.layers, key=lambda x: x.path.count(".")):
            held = frozenset(name for name in own if layer.path and name.startswith(layer.path + "."))
            if held:
                inside[held].append(layer.path)
        found: dict[str, list[str]] = {}
        names = [name for p in reference.parameters if p.trainable for name in p.names]
        for layer in reference.layers:
            mine = [name for name in names if layer.path and name.startswith(layer.path + ".")]
            if mine and not self.same_function(layer.path) and all(name in pairs for name in mine):
                same = inside.get(frozenset(set().union(*(pairs[name] for name in mine))))
                if same:
                    found[layer.path] = same
        return found

    def same_call(self, step: int, digest: str, type_name: str, used: set[int]) -> CallEvent | None:
        """The first unused call of a parameterless layer of the same family that made this tensor."""
        family = family_of(type_name)
        for call in self._by_output.get((step, digest), []) if family else []:
            if call.id not in used and family_of(self._all_types.get(call.path, "")) == family:
                return call
        return None

    def kinds(self, path: str) -> tuple[str, list[str]]:
        """The families of a reference layer and of what corresponds to it."""
        target = self.targets.get(path)
        return kind_of(self.reference_types.get(path, "")), [
            kind_of(self.types.get(p, "")) for p in (target.paths if target else [])
        ]

    def same_function(self, path: str) -> bool:
        """Whether a reference layer and its counterpart are called for the same computation: library layers of one
        family, or layers without layers inside.
        """
        mine, theirs = self.kinds(path)
        target = self.targets.get(path)
        if target is None:
            return False
        if mine != "other" and all(kind == mine for kind in theirs):
            return True
        if mine == "attention" or "attention" in theirs:
            return False
        return not _nested(path, self.reference_types) and not any(_nested(p, self.types) for p in target.paths)

    def evaluated(self, steps: int) -> bool:
        """Whether its model was called in evaluation mode after just so many steps."""
        return bool(self.trace.meta.evaluated) and self.trace.meta.steps == steps

    def array(self, ref: TensorRef) -> np.ndarray:
        """A tensor's values."""
        return self.trace.array(ref)

    def arrays(self, refs: dict[str, TensorRef]) -> dict[str, np.ndarray]:
        """Tensors by name."""
        return {name: self.array(ref) for name, ref in refs.items()}

    def unit(self, call: CallEvent, item: Item | None = None) -> float:
        """The coarsest unit of rounding in a call; float32's where the reference computes in nothing coarser."""
        if not self.half:
            return 2.0**-24
        own = unit_of(item.ref.dtype) if item is not None else 0.0
        return max(self._units.get(call.id, 0.0), own) or 2.0**-24

    def output(self, step: int, path: str, call: int, item: str, index: int) -> Value | None:
        """The counterpart of a reference layer's output.

        Args:
            step: Training step.
            path: The reference layer's path.
            call: Which of its calls in the step.
            item: The place of the tensor in the output.
            index: The same as a number.
        """
        target = self.targets.get(path)
        if target is None:
            return None
        values: list[Value] = []
        for other in target.paths:
            calls = self.calls.get((step, other), [])
            if call >= len(calls):
                return None
            values_of = self.item_of(calls[call], item, index)
            if values_of is None:
                return None
            values.append(values_of)
        if target.rows is not None:
            start, stop = target.rows
            whole = values[0]
            gradient = whole.gradient[..., start:stop] if whole.gradient is not None else None
            return whole._replace(array=whole.array[..., start:stop], gradient=gradient)
        if len(values) == 1:
            return values[0]
        gradients = [v.gradient for v in values]
        joined = np.concatenate([g for g in gradients if g is not None], -1) if None not in [
            None if g is None else 0 for g in gradients] else None  # fmt: skip
        return Value(
            np.concatenate([v.array for v in values], -1), joined, values[0].path, values[-1].event, values[0].unit
        )

    def item_of(self, call: CallEvent, item: str, index: int) -> Value | None:
        """One output of a call."""
        found = next((i for i in call.outputs if i.name == item), None)
        if found is None and index < len(call.outputs):
            found = call.outputs[index]
        if found is None:
            return None
        gradient = self.gradients.get((call.step, call.id, found.name))
        return Value(
            self.array(found.ref),
            self.array(gradient) if gradient else None,
            call.path,
            call.id,
            self.unit(call, found),
        )

    def input(self, step: int, path: str, call: int, item: str, index: int) -> Value | None:
        """The counterpart of a reference layer's input (the first of several layers that share it)."""
        target = self.targets.get(path)
        calls = self.calls.get((step, target.paths[0]), []) if target else []
        if call >= len(calls):
            return None
        found = calls[call].inputs
        chosen = next((i for i in found if i.name == item), None) or (found[index] if index < len(found) else None)
        if chosen is None:
            return None
        return Value(self.array(chosen.ref), None, calls[call].path, calls[call].id, self.unit(calls[call], chosen))

    def index(self, step: int) -> tuple[Index, dict[int, tuple[TensorRef, int]]]:
        """Sketches of everything that the candidate made in a step, and by their number the content and the event."""
        index = Index()
        entries: dict[int, tuple[TensorRef, int]] = {}
        seen: set[str] = set()
        made = [(op.id, op.outputs) for op in self.ops[step]]
        made += [(c.id, c.outputs) for (s, _), calls in self.calls.items() if s == step for c in calls]
        for event, outputs in sorted(made, key=lambda pair: pair[0]):
            for item in outputs:
                if item.ref.digest in seen or "float" not in item.ref.dtype or not item.ref.size:
                    continue
                seen.add(item.ref.digest)
                entries[len(entries)] = (item.ref, event)
                index.add(len(entries) - 1, Sketch(self.array(item.ref)))
        return index, entries

    def differentiated(self, step: int) -> bool:
        """Whether gradients at layers' outputs were recorded in a step."""
        return any(known == step for known, _, _ in self.gradients)

    def scales_loss(self, step: int, scale: float) -> bool:
        """Whether a loss that is `scale` times the reference's was scaled on purpose: the script made a loss scaler, or
        one side multiplies the gradients of the step's backward passes by as much.
        """
        if scale > 1.5 and self.trace.meta.environment.get("loss_scale"):
            return True
        mine, theirs = self._treatment(self._reference, step), self._treatment(self.trace, step)
        if mine is not None and theirs is not None and abs(theirs * scale / mine - 1) < 0.02:
            own = any(abs(own_scale(call) / scale - 1) < 0.01 for call in self.optimizers.get(step, []))
            if own or abs(mine - 1) < 0.01 or abs(theirs - 1) < 0.01:
                return True
        return _multiplies(self.trace, step, 1 / scale) or _multiplies(self._reference, step, scale)

    def _treatment(self, trace: Trace, step: int) -> float | None:
        """What the optimizers of a step are given, as a multiple of what its backward passes made (by norm)."""
        key = (trace is self.trace, step)
        if key not in self._treatments:
            made: dict[str, np.ndarray] = {}
            for event in trace.of(ParameterGradEvent, step):
                values = np.asarray(trace.array(event.ref), np.float64)
                made[event.name] = made[event.name] + values if event.name in made else values
            before = after = 0.0
            for call in trace.of(OptimizerEvent, step):
                own = own_scale(call)
                for name, ref in call.given.items():
                    if name in made:
                        before += float(np.sum(made[name] ** 2))
                        after += float(np.sum((np.asarray(trace.array(ref), np.float64) / own) ** 2))
            self._treatments[key] = (after / before) ** 0.5 if before > 0 and np.isfinite(before) else None
        return self._treatments[key]

    def accumulated(self, reference: Trace, record: Measured) -> float | None:
        """How far this output is from the reference's own run."""
        call = self._reference_calls.get((record.step, record.path, record.call))
        target = self.targets.get(record.path)
        if call is None or target is None or len(target.paths) != 1 or target.rows:
            return None
        item = next((i for i in call.outputs if i.name == record.item), None)
        others = self.calls.get((record.step, target.paths[0]), [])
        if item is None or record.call >= len(others):
            return None
        value = self.item_of(others[record.call], record.item, 0)
        if value is None:
            return None
        expected = reference.array(item.ref)
        how = layout(value.array, expected)
        return None if how is None else distance(lay(value.array, how), expected)


def own_scale(call: OptimizerEvent) -> float:
    """The loss scale that an optimizer divides its gradients by itself."""
    return float(call.groups[0].get("loss_scale") or 1.0) if call.groups else 1.0


def _multiplies(trace: Trace, step: int, factor: float) -> bool:
    """Whether some op of a step makes `factor` times the gradient of one backward pass or of all together, or is such
    that what an optimizer is given is `factor` times what it makes.
    """
    made: dict[str, list[np.ndarray]] = defaultdict(list)
    for event in trace.of(ParameterGradEvent, step):
        made[event.name].append(np.asarray(trace.array(event.ref), np.float64).reshape(-1))
    if not made:
        return False
    passes = max(made.values(), key=lambda arrays: float(arrays[0] @ arrays[0]))
    wanted = [factor * values for values in (np.sum(passes, axis=0), *passes)]
    name = next(name for name, arrays in made.items() if arrays is passes)
    for call in trace.of(OptimizerEvent, step):
        if name in call.given:
            wanted.append(np.asarray(trace.array(call.given[name]), np.float64).reshape(-1) / factor)
    clips = {  # a library's clipping takes the norm, multiplies by its limit and divides by the norm
        (call.file, call.line) for call in trace.objects
        if call.kind == "clip" and any(
            isinstance(most, (int, float)) and abs(most / factor - 1) < 0.01 for most in call.arguments.values()
        )
    }  # fmt: skip
    normed: set[int] = set()
    for op in sorted(trace.of(OpEvent, step), key=lambda op: op.id):
        if (op.file, op.line) in clips:
            clipped = not normed.isdisjoint(op.inputs)
            normed.update(op.inputs)
            if clipped:
                continue
        for item in op.outputs:
            if item.ref.size == passes[0].size and "float" in item.ref.dtype:
                values = np.asarray(trace.array(item.ref), np.float64).reshape(-1)
                if any(distance(values, other) < 1e-4 for other in wanted):
                    return True
    return False


def idle_passes(trace: Trace) -> dict[int, list[tuple[int, CallEvent]]]:
    """Forward passes of the model that no gradient came back to, in steps that have one with gradients (a step that
    runs its forward twice, once for the loss and once for the gradients; a first look at the output's shape).

    Returns:
        By step, each such call of the model with its number among all of them.
    """
    roots = {layer.id for layer in trace.layers if layer.root}
    reached = {(g.step, g.call) for g in trace.of(GradEvent)}
    passes: dict[int, list[CallEvent]] = defaultdict(list)
    for call in sorted(trace.of(CallEvent), key=lambda c: c.id):
        if call.layer in roots:
            passes[call.step].append(call)
    idle = {}
    for step, calls in passes.items():
        used = {id(call): any(s == step and call.id <= c <= call.end for s, c in reached) for call in calls}
        learning = {call.layer for call in calls if used[id(call)]}
        idle[step] = [(n, call) for n, call in enumerate(calls) if call.layer in learning and not used[id(call)]]
    return idle


def beside(reference: Trace, candidate: Trace) -> list[CallEvent]:
    """Calls of the candidate's model with what the reference calls its own with in that step undifferentiated only."""
    roots = [{layer.id for layer in trace.layers if layer.root} for trace in (reference, candidate)]
    models = {layer.path for layer in reference.layers if layer.root}
    apart: dict[int, set[str]] = defaultdict(set)
    for event in reference.of(AsideEvent):
        if event.path in models:
            apart[event.step].update(item.ref.digest for item in event.inputs)
    if not apart:
        return []
    for source in reference.of(SourceEvent, 0):
        if source.origin == "glimpse":
            apart[0].add(source.ref.digest)
    for call in reference.of(CallEvent):
        if call.layer in roots[0]:
            apart[call.step].difference_update(item.ref.digest for item in call.inputs)
    own = [call for call in candidate.of(CallEvent) if call.layer in roots[1] and call.inputs]
    return [call for call in own if all(item.ref.digest in apart[call.step] for item in call.inputs)]


def _nested(path: str, types: dict[str, str]) -> bool:
    return not path or any(other.startswith(path + ".") for other in types)
