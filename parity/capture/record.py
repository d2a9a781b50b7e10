"""The recording session: everything that a run does goes into a trace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from parity.capture.frameworks.base import Made, tensors_in
from parity.capture.initial import Unseen, record_initials
from parity.capture.loops import epochs
from parity.capture.session import Frame, Session
from parity.capture.shadows import shadows
from parity.capture.source import Source
from parity.capture.survey import arrays_in, numbers_of
from parity.model import (
    BatchEvent,
    BufferEvent,
    CallEvent,
    EvaluationEvent,
    GeneratorEvent,
    GradEvent,
    Item,
    LayerInfo,
    Layers,
    LoaderEvent,
    LossEvent,
    MetricEvent,
    ObjectInfo,
    OpEvent,
    OptimizerEvent,
    ParameterGradEvent,
    ParameterInfo,
    RandomEvent,
    ShadowEvent,
    SourceEvent,
    StateEvent,
    TensorRef,
)
from parity.trace import TraceWriter

PLANNED = 2000
"""Steps after the captured ones for which learning rates are noted, shared among an optimizer's groups."""


_ASIDE = 4096
"""Layers that were called outside of steps which are kept in mind, in each mode, until the model is known."""

_LOADERS = 64
"""Objects that may be loaders which are kept in mind until the first step ends."""


class Recorder(Session):
    """Writes what it is told into a trace.

    Args:
        writer: The open trace.
        source: Which files are the script's own.
        steps: Training steps to record.
        inference: Whether a step is a call of the model that nothing is learned from; None to find out.
    """

    initials = True
    meters = True

    def __init__(self, writer: TraceWriter, source: Source, steps: int, inference: bool | None = False) -> None:
        super().__init__(source, steps, inference=inference)
        self.writer = writer
        self.on_step: Callable[[], None] | None = None
        self.parameters: list[ParameterInfo] = []
        self.initial = 0
        self.unseen: dict[str, Unseen] = {}
        self._refs: dict[int, TensorRef] = {}
        self._layer_ids: dict[int, int] = {}
        self._layers: list[LayerInfo] = []
        self._objects: list[ObjectInfo] = []
        self._configurations: list[tuple[ObjectInfo, Any]] = []
        self._optimizer_names: dict[int, str] = {}
        self._watched: dict[int, list[tuple[int, str]]] = {}
        self._stash: dict[int, np.ndarray] = {}
        self._randoms = 0
        self._batches = 0
        self.loaders: list[Any] = []
        self.used_loaders: set[int] = set()
        self._loaders: list[LoaderEvent] = []
        self._made_loaders: list[Any] = []
        self._shadowed = -1
        self._aside: dict[tuple[int, int, bool], EvaluationEvent] = {}

    # Tensors --------------------------------------------------------------------------------------------------

    def store(self, tensor: Any) -> TensorRef:
        """Stores a tensor's present values."""
        return self.writer.put(*self.adapter.view(tensor))

    def item(self, name: str, tensor: Any, origin: str | None = None) -> Item:
        """A tensor's place, identity and content; one without identity came from outside and is a source."""
        tag = self.adapter.tag(tensor)
        if tag is None:
            parameter = self.parameter_name(tensor)
            tag = next(self._tags)
            given = origin is not None and parameter is None  # the other run has its own parameters
            with self.writer.needed() if given else nullcontext():
                ref = self.store(tensor)
            self.adapter.set_tag(tensor, tag)
            self._refs[tag] = ref
            if origin is not None:
                label = f"parameter:{parameter}" if parameter else origin
                self.writer.event(SourceEvent(self.step, tag, ref, label))
                whole = self.adapter.whole(tensor) if parameter is None else None
                if whole is not None and self.adapter.tag(whole) is None:
                    self.item(name, whole, origin)
        return Item(name, tag, self._refs[tag])

    def fresh(self, name: str, tensor: Any) -> Item:
        """The same for a tensor that an op has just made."""
        tag = next(self._tags)
        self.adapter.set_tag(tensor, tag)
        self._refs[tag] = self.store(tensor)
        return Item(name, tag, self._refs[tag])

    def _tensors(self, value: Any) -> list[tuple[str, Any]]:
        return list(tensors_in(value, self.adapter.is_tensor))

    # What is declared ----------------------------------------------------------------------------------------

    def declared(self, kind: str, name: str, made: Made, value: Any = None) -> None:
        info = ObjectInfo(kind, name, "", made.file, made.line, made.arguments, made.given)
        if not self.finished and info not in self._objects:
            self._objects.append(info)

    def configured(self, form: str, value: Any, values: dict[str, Any], given: list[str]) -> None:
        """The script parsed its options or loaded a configuration file."""
        if not self.finished:
            file, line = self.source.here()
            self._configurations.append((ObjectInfo("config", form, "", file, line, values, given), value))

    def _looped(self) -> None:
        """Notes how many epochs the loop has in which the first batch is read."""
        loop = epochs(self.source)
        if loop is not None:
            made = Made(loop.file, loop.line, {"epochs": loop.rounds}, ["epochs"])
            self._objects.append(ObjectInfo("epochs", "range", "", *made, code=loop.code))

    def plan(self) -> None:
        """Notes how the script's schedules would have gone on after the last captured step."""
        self.busy = True
        length, batches = self.facts.get("batches_per_epoch"), self._batches
        epoch = length * self.step // batches if length and batches and length * self.step % batches == 0 else None
        for index, optimizer in enumerate(self.optimizers):
            steps = max(100, PLANNED // max(1, len(self.adapter.optimizer_groups(optimizer))))
            for plan in self.adapter.planned_rates(optimizer, self.step, steps, epoch):
                made = plan.made
                arguments = {**made.arguments, "parameters": plan.parameters, "every": plan.every}
                name = self._optimizer_names.get(index, "optimizer")
                self._objects.append(
                    ObjectInfo(
                        "rates",
                        plan.type,
                        name,
                        made.file,
                        made.line,
                        arguments,
                        made.given,
                        plan.values,
                        self.source.call(made.file, made.line, plan.type),
                    )
                )
        self.busy = False

    def _optimizer_objects(self) -> list[ObjectInfo]:
        found = []
        for index, optimizer in enumerate(self.optimizers):
            made = self.adapter.made(optimizer)
            name = self._optimizer_names.get(index, "optimizer")
            kind = type(optimizer)
            found.append(
                ObjectInfo(
                    "optimizer", f"{kind.__module__}.{kind.__name__}", name, made.file, made.line, made.arguments,
                    made.given, [], self.source.call(made.file, made.line, kind.__name__),
                )
            )  # fmt: skip
        return found

    # What happens ---------------------------------------------------------------------------------------------

    def _on_model(self) -> None:
        self.busy = True
        with self.writer.needed():
            for held in self.held:
                shape = tuple(self.adapter.read(held.tensor)[0].shape)
                info = ParameterInfo(
                    held.names[0], held.owner, held.role, shape, "", held.trainable, held.buffer, held.names
                )
                info.ref = info.own = self.store(held.tensor)
                info.dtype = info.ref.dtype
                self.parameters.append(info)
            if self.initials:
                self.unseen = record_initials(self.adapter, self.held, self.writer)
        self.initial = self.writer.written
        self.busy = False

    def layer_id(self, layer: Any) -> int:
        """The number of a layer in `layers.json`, describing it on first sight."""
        known = self._layer_ids.get(id(layer))
        if known is None:
            known = self._layer_ids[id(layer)] = len(self._layers)
            made = self.adapter.made(layer)
            children = [name for name, _ in self.adapter.named_layers(layer) if name and "." not in name]
            self._layers.append(
                LayerInfo(
                    known,
                    self.path(layer),
                    type(layer).__name__,
                    made.file,
                    made.line,
                    made.arguments,
                    made.given,
                    self.adapter.is_framework_layer(layer),
                    children,
                    any(layer is r for r in self.roots),
                    self.source.call(made.file, made.line, type(layer).__name__),
                )
            )
        return known

    def metered(
        self, metric: Any, made: Made, inputs: list[np.ndarray], values: dict[str, np.ndarray], library: bool
    ) -> None:
        with self.writer.needed():
            given = [self.writer.put(array) for array in inputs]
            answers = {name: self.writer.put(array) for name, array in values.items()}
        kind = type(metric).__name__
        name = self.source.called(metric) or kind
        self.writer.event(
            MetricEvent(self.step, name, kind, library, made.arguments, given, answers, *self.source.here())
        )

    def _note_shadows(self) -> None:
        """Once a step, before it changes anything: copies of the weights that the script keeps."""
        if self._shadowed == self.step or self.inference or self.light or self.evaluating:
            return
        self._shadowed = self.step
        self.busy = True
        for shadow in shadows(self):
            with self.writer.needed():
                values, weights = self.writer.put(shadow.values), self.writer.put(shadow.weights)
            place = self.source.assigned(shadow.name.partition(".")[0])
            self.writer.event(ShadowEvent(self.step, shadow.name, shadow.class_name, values, weights, *place))
        self.busy = False

    def aside(self, layer: Any) -> None:
        if self.finished or self.busy or self.in_backward or self.stack:
            return
        if self._ready and not any(layer is root for root in self.roots):
            return
        key = (id(layer), self.step, self.adapter.training(layer))
        known = self._aside.get(key)
        if known is not None:
            known.calls += 1
        elif len(self._aside) < _ASIDE:
            self._keep_forever(layer)
            self._aside[key] = EvaluationEvent(self.step, "", key[2], 1, *self.source.here())

    def _evaluations(self) -> None:
        """Writes down calls of the model that belonged to no step."""
        paths = {id(root): self.path(root) for root in self.roots}
        for (layer, _, _), event in self._aside.items():
            if layer in paths:
                event.path = paths[layer]
                self.writer.event(event)
        self._aside.clear()

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self.light and not any(frame.layer is root for root in self.roots):
            return args, kwargs
        if self.meters:
            self._note_shadows()
        self.busy = True
        origin = f"argument of {frame.path or 'the model'}"
        inputs = [self.item(name, t, origin) for name, t in self._tensors([*args, kwargs] if kwargs else list(args))]
        frame.data = CallEvent(
            frame.id, self.step, self.phase, frame.path, self.layer_id(frame.layer), frame.call, -1,
            frame.parent.id if frame.parent else None, frame.training, inputs,
        )  # fmt: skip
        self.busy = False
        return args, kwargs

    def _on_leave(self, frame: Frame, output: Any) -> Any:
        if frame.data is None:
            return output
        self.busy = True
        event: CallEvent = frame.data
        event.end = next(self._ids)
        if self.light:
            self.writer.event(event)
            self.busy = False
            return output
        for name, tensor in self._tensors(output):
            item = self.item(name, tensor, f"made in {frame.path or 'the model'}")
            event.outputs.append(item)
            self._watch(frame, item, tensor)
        self.writer.event(event)
        self.busy = False
        return output

    def _watch(self, frame: Frame, item: Item, tensor: Any) -> None:
        """Records the gradient that will arrive; one tensor may leave several layers (and takes only one hook)."""
        step = self.step
        places = self._watched.setdefault(item.vid, [])
        places.append((frame.id, item.name))
        if len(places) > 1:
            return

        def arrived(gradient: Any) -> None:
            if gradient is None:
                return
            busy, self.busy = self.busy, True
            ref = self.store(gradient)
            for call, name in places:
                self.writer.event(GradEvent(step, call, name, ref))
            self.busy = busy

        self.adapter.on_gradient(tensor, arrived)

    def _on_op(self, name: str, inputs: list[Any], outputs: Any, view: bool, inplace: bool, reduction: int) -> Any:
        self.busy = True
        file, line = self.source.here()
        parameters = [p for p in map(self.parameter_name, inputs) if p is not None]
        read = [self.item("", t, f"{name} in {self.here or 'the loop'}") for t in inputs]
        if self._first is not None and read:
            read[0] = Item("", self._first, self._refs[self._first])
        event = OpEvent(
            next(self._ids), self.step, self.phase, name, self.stack[-1].id if self.stack else None, self.here,
            file, line,
            [item.vid for item in read], [item.ref.shape for item in read], parameters,
            [self.fresh(place, t) for place, t in self._tensors(outputs)], view, reduction,
        )  # fmt: skip
        self.writer.event(event)
        self.busy = False
        return outputs

    def _on_batch(self, loader: Any, batch: Any, position: int) -> Any:
        arrays = list(arrays_in(batch, self.adapter))
        if arrays and (self.optimizers or self.inference):
            self.busy = True
            length = self.adapter.loader_length(loader)
            if length is not None:
                self.facts.setdefault("batches_per_epoch", length)
            number = self._loader(loader)
            if not self.used_loaders:
                self._looped()
            self.used_loaders.add(number)
            with self.writer.needed():
                items = [Item(name, -1, self.writer.put(values, dtype)) for name, values, dtype in arrays]
            name = self._loaders[number].name or type(loader).__name__
            self.writer.event(BatchEvent(self.step, self._batches, name, items, number, position))
            self._batches += 1
            self.busy = False
        return batch

    def loader_made(self, loader: Any) -> None:
        if not self.finished and len(self._made_loaders) < _LOADERS:
            self._made_loaders.append(loader)

    def _describe_unused(self) -> None:
        """Loaders that gave no batch in the first step, as long as their names can be found: those for evaluation."""
        for loader in self._made_loaders:
            if self.adapter.is_loader(loader):
                self._loader(loader)
        self._made_loaders.clear()

    def _loader(self, loader: Any) -> int:
        """The number of a data loader, describing it on first sight."""
        for number, known in enumerate(self.loaders):
            if known is loader:
                return number
        self.loaders.append(loader)
        event = self.adapter.describe_loader(loader)
        event.id, event.name = len(self._loaders), self.source.called(loader)
        event.code = next(filter(None, (self.source.call(event.file, event.line, n) for n in _batching(event))), None)
        event.constants = numbers_of(sys.modules["__main__"])
        self._loaders.append(event)
        self.writer.event(event)
        return len(self._loaders) - 1

    def _on_random(self, kind: str, shape: tuple[int, ...], draw: Any) -> Any:
        busy, self.busy = self.busy, True
        drawn = draw()
        values, dtype = self.adapter.read(drawn)
        if kind == "mask":
            values, dtype = values.astype(np.uint8), "uint8"
        with self.writer.needed():
            ref = self.writer.put(values, dtype)
        self.writer.event(RandomEvent(self.step, self._randoms, kind, self.here, ref))
        self._randoms += 1
        self.busy = busy
        return drawn

    def _on_backward(self, loss: Any) -> None:
        if loss is None:
            return
        self.busy = True
        file, line = self.source.here()
        item = self.item("", loss, "loss")
        ref = item.ref
        if self._times != 1.0:
            values, dtype = self.adapter.read(loss)
            ref = self.writer.put((values * self._times).astype(values.dtype), dtype)
        self.writer.event(LossEvent(self.step, self.backwards, item.vid, ref, file, line))
        self._stash = {} if self.light else self._present()
        self.busy = False

    def _present(self) -> dict[int, np.ndarray]:
        tensors = [h.tensor for h in self.held if h.trainable]
        found = self.adapter.gradients(tensors)
        return {id(t): self.adapter.read(g)[0] for t, g in zip(tensors, found, strict=True) if g is not None}

    def _on_gradients(self, gradients: dict[int, Any] | None) -> None:
        if self.light:
            return
        self.busy = True
        stash = self._stash
        for held in self.held:
            if gradients is not None:
                gradient = gradients.get(id(held.tensor))
                if gradient is None:
                    continue
                ref = self.store(gradient)
            else:
                (gradient,) = self.adapter.gradients([held.tensor])
                if gradient is None:
                    continue
                values, dtype = self.adapter.read(gradient)
                if id(held.tensor) in stash:
                    values = values - stash[id(held.tensor)]
                ref = self.writer.put(values, dtype)
            self.writer.event(ParameterGradEvent(self.step, self.backwards, held.names[0], ref))
        self._stash = {}
        self.busy = False

    def _on_optimizer(self, optimizer: Any, gradients: list[Any]) -> list[Any]:
        self.busy = True
        parameters = self.adapter.optimizer_parameters(optimizer)
        given, before = {}, {}
        for parameter, gradient in zip(parameters, gradients, strict=False):
            name = self.parameter_name(parameter)
            if name is not None and not self.light:
                before[name] = self.store(parameter)
                if gradient is not None:
                    given[name] = self.store(gradient)
        file, line = self.source.here()
        groups = self.adapter.optimizer_groups(optimizer)
        self._pending = (given, before, groups, file, line)
        self.busy = False
        return gradients

    def _on_updated(self, optimizer: Any) -> None:
        self.busy = True
        given, before, groups, file, line = self._pending
        state = {} if self.light else self.adapter.optimizer_state(optimizer)
        after: dict[str, TensorRef] = {}
        states: dict[str, dict[str, TensorRef]] = {}
        for parameter in self.adapter.optimizer_parameters(optimizer):
            name = self.parameter_name(parameter)
            if name is not None and not self.light:
                after[name] = self.store(parameter)
                states[name] = {key: self.store(t) for key, t in state.get(id(parameter), {}).items()}
        index = next(i for i, known in enumerate(self.optimizers) if known is optimizer)
        self._optimizer_names.setdefault(index, self._variable(optimizer, "optimizer"))
        self.writer.event(
            OptimizerEvent(
                self.step,
                index,
                self._optimizer_names[index],
                type(optimizer).__name__,
                groups,
                given,
                before,
                after,
                states,
                file,
                line,
            )
        )
        self.busy = False

    def _on_step_end(self) -> None:
        self.busy = True
        buffers = {h.names[0]: self.store(h.tensor) for h in self.held if h.buffer and not self.light}
        if buffers:
            self.writer.event(BufferEvent(self.step, buffers))
        state = self.adapter.generator_state()
        if state is not None:
            with self.writer.needed():
                self.writer.event(GeneratorEvent(self.step, self.writer.put(state)))
        self._refs.clear()
        self._watched.clear()
        self._randoms = 0
        self._describe_unused()
        self.busy = False
        if not self.light:
            self.save_layers()

    def _on_resume(self) -> None:
        self.busy = True
        values = {h.names[0]: self.store(h.tensor) for h in self.held}
        states = []
        for optimizer in self.optimizers:
            held = self.adapter.optimizer_state(optimizer)
            named = [
                (self.parameter_name(p), held.get(id(p), {})) for p in self.adapter.optimizer_parameters(optimizer)
            ]
            states.append({n: {key: self.store(t) for key, t in own.items()} for n, own in named if n is not None})
        self.writer.event(StateEvent(self.step, values, states))
        self.busy = False

    def _on_step_done(self) -> None:
        if self.on_step is not None:
            self.on_step()

    def save_layers(self) -> None:
        """Writes the tree as far as it is known: every layer of the model, called or not."""
        self.busy = True
        for root in self.roots:
            for _, layer in self.adapter.named_layers(root):
                self.layer_id(layer)
        self.busy = False
        self._evaluations()
        for info, value in self._configurations:
            info.name = self.source.called(value) or info.name
        objects = [*self._optimizer_objects(), *self._objects, *(info for info, _ in self._configurations)]
        self.writer.layers(Layers(self._layers, self.parameters, objects))


def _batching(loader: LoaderEvent) -> tuple[str, ...]:
    """By which names a script may call what makes a loader's batches."""
    return "batch", "padded_batch", loader.class_name
