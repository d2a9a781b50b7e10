"""What a script does beside its training steps: evaluation, metrics, averages of weights, companions of the model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from parity.capture.companions import Companion
from parity.capture.declare import Declaring
from parity.capture.frameworks.base import Held, Made
from parity.capture.session import Frame
from parity.capture.shadows import shadows
from parity.capture.source import Source
from parity.model import (
    AsideEvent,
    CompanionEvent,
    CompanionInfo,
    EvaluationEvent,
    MetricEvent,
    ParameterInfo,
    ShadowEvent,
    SourceEvent,
    TensorRef,
)
from parity.trace import TraceWriter

_ASIDE = 4096
"""Layers that were called outside of steps which are kept in mind, in each mode, until the model is known."""

_GLANCES = 64
"""Calls of a model or companion that are not differentiated which are written down, in each step."""

_GLIMPSES = 256
"""Tensors that ops before the first step took and made which are kept in mind."""

_GLIMPSED = 2**16
"""Elements that such a tensor may have."""


class Besides(Declaring):
    """Follows what is not differentiated.

    Args:
        writer: The open trace.
        source: Which files are the script's own.
        steps: Training steps to record.
        inference: Whether a step is a call of the model that nothing is learned from; None to find out.
    """

    def __init__(self, writer: TraceWriter, source: Source, steps: int, inference: bool | None = False) -> None:
        super().__init__(writer, source, steps, inference)
        self._shadowed = -1
        self._aside: dict[tuple[int, int, bool], EvaluationEvent] = {}
        self._glimpses: dict[int, tuple[Any, bool]] = {}
        self._resting: dict[int, list[Held]] = {}
        self._rested: set[int] = set()
        self._present_refs: dict[str, TensorRef] = {}
        self._glances: Counter[str] = Counter()
        self._early_glances: dict[str, tuple[Any, Any, Any]] = {}

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

    def aside(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]) -> Any:
        self._note_aside(layer)
        return super().aside(layer, args, kwargs, run)

    def _note_aside(self, layer: Any) -> None:
        """A layer is called that belongs to no step."""
        if self.finished or self.busy or self.in_backward or self.stack:
            return
        early = not (self._ready or self.inference or self.glimpsing) and bool(self.optimizers)
        self.glimpsing = self.glimpsing or (early and bool(self.adapter.held(layer)))
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

    def _describe_companion(self, companion: Companion) -> None:
        """Notes what a companion is, and what it starts with."""
        made = self.adapter.made(companion.layer)
        layers = self.adapter.named_layers(companion.layer)
        types = {path: type(layer).__name__ for path, layer in layers if self.adapter.is_framework_layer(layer)}
        info = CompanionInfo(companion.name, type(companion.layer).__name__, made.file, made.line, [], types)
        with self.writer.needed():
            for held in companion.held:
                ref = self.store(held.tensor)
                info.parameters.append(
                    ParameterInfo(
                        held.names[0], held.owner, held.role, ref.shape, ref.dtype, held.trainable, held.buffer,
                        held.names, ref, ref,
                    )
                )  # fmt: skip
        self._companions[companion.name] = info

    def _on_companion(self, companion: Companion, args: Any, kwargs: Any) -> tuple[Any, Any]:
        busy, self.busy = self.busy, True
        if companion.name not in self._companions:
            self._describe_companion(companion)
            self._meet(companion, args, kwargs)
        self._name_parameters()
        if companion.used != self.step:
            companion.used, companion.calls = self.step, 0
            if self._ready:
                self._note_companion(companion)
        companion.calls += 1
        self.busy = busy
        return args, kwargs

    def _meet(self, companion: Companion, args: Any, kwargs: Any) -> None:
        """A companion is about to be called for the first time."""

    def glimpsed(self, inputs: Any, outputs: Any) -> None:
        if self._ready or self.busy or self.finished:
            self.glimpsing = False
            return
        for value, made in ((inputs, False), (outputs, True)):
            for _, tensor in self._tensors(value):
                small = math.prod(tensor.shape) <= _GLIMPSED
                if small and (made or id(tensor) not in self._glimpses):
                    self._glimpses[id(tensor)] = (tensor, made)
        while len(self._glimpses) > _GLIMPSES:
            del self._glimpses[next(iter(self._glimpses))]

    def _write_glimpses(self) -> None:
        """Writes down what entered the first step before its model was called to be differentiated."""
        with self.writer.needed():
            for tensor, made in self._glimpses.values():
                if made or self.adapter.is_parameter(tensor):
                    continue
                values, dtype = self.adapter.read(tensor)
                if values.size > 1:
                    self.writer.event(SourceEvent(self.step, -1, self.writer.put(values, dtype), "glimpse"))
        self._glimpses.clear()

    def _note_resting(self, frame: Frame) -> None:
        """Writes down weights that are not trained and that something has changed, where they are used next."""
        held = self._resting.get(id(frame.layer))
        if held is None or id(frame.layer) in self._rested:
            return
        self._rested.add(id(frame.layer))
        known = {p.name: p for p in self.parameters}
        present = {h.names[0]: self.store(h.tensor) for h in held}
        changed = {name: ref for name, ref in present.items() if ref != self._present_refs.get(name, known[name].ref)}
        if changed:
            self._present_refs.update(changed)
            self.writer.event(CompanionEvent(self.step, "", changed, *self.source.here()))

    def _note_companion(self, companion: Companion) -> None:
        """Writes down the weights with which a companion is called first in a step."""
        with self.writer.needed():
            values = {held.names[0]: self.store(held.tensor) for held in companion.held}
        self.writer.event(CompanionEvent(self.step, companion.name, values, *self.source.here()))

    def _on_aside(self, layer: Any, companion: Companion | None, args: Any, kwargs: Any, output: Any) -> None:
        if not self._ready:
            if companion is not None:
                self._early_glances[companion.name] = (args, kwargs, output)
            return
        path = companion.name if companion is not None else self.path(layer)
        number = self._glances[path]
        self._glances[path] += 1
        if number >= _GLANCES:
            return
        busy, self.busy = self.busy, True
        with self.writer.needed():
            given = self._tensors([*args, kwargs] if kwargs else list(args))
            inputs = [self.item(name, tensor, f"argument of {path or 'the model'}") for name, tensor in given]
            outputs = [self.item(name, tensor) for name, tensor in self._tensors(output)]
        training = self.adapter.training(layer)
        self.writer.event(AsideEvent(self.step, path, number, training, inputs, outputs, *self.source.here()))
        self.busy = busy
