"""The recording session: everything that a run does goes into a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.capture.beside import Besides
from parity.capture.initial import Unseen, record_initials
from parity.capture.session import Frame
from parity.capture.settings import settings
from parity.capture.source import Source
from parity.model import (
    BufferEvent,
    CallEvent,
    GeneratorEvent,
    GradEvent,
    Item,
    Layers,
    LossEvent,
    ObjectInfo,
    OpEvent,
    OptimizerEvent,
    ParameterGradEvent,
    ParameterInfo,
    RandomEvent,
    StateEvent,
    TensorRef,
)
from parity.trace import TraceWriter


class Recorder(Besides):
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
        super().__init__(writer, source, steps, inference)
        self.on_step: Callable[[], None] | None = None
        self.initial = 0
        self.unseen: dict[str, Unseen] = {}
        self._watched: dict[int, list[tuple[int, str]]] = {}
        self._stash: dict[int, np.ndarray] = {}
        self._randoms = 0

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
        for companion in self.companions.found:
            self._describe_companion(companion)
        self._resting = self.resting()
        self._write_glimpses()
        if self.meters:
            for found in settings(self.source):
                place = self.source.assigned(found.name)
                self._objects.append(ObjectInfo("config", found.form, found.name, *place, found.values, found.given))
        self.initial = self.writer.written
        self.busy = False
        for companion in self.companions.found:
            if companion.name in self._early_glances:
                self._on_aside(companion.layer, companion, *self._early_glances.pop(companion.name))

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self.light and not any(frame.layer is root for root in self.roots):
            return args, kwargs
        if self.meters:
            self._note_shadows()
        self.busy = True
        self._note_resting(frame)
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
        self._on_made(event)
        self.busy = False
        return outputs

    def _on_made(self, event: OpEvent) -> None:
        """An op was written down."""

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
        self._glances.clear()
        self._rested.clear()
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
        for companion in self.companions.found:
            if companion.name in self._companions:
                self._companions[companion.name].order = companion.order
        companions = list(self._companions.values())
        self.writer.layers(Layers(self._layers, self.parameters, objects, companions))
