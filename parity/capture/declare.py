"""What a script declares: layers, optimizers, schedules, settings and data loaders, into the trace's description."""

from __future__ import annotations

import sys
from typing import Any

from parity.capture.frameworks.base import Made
from parity.capture.loops import epochs
from parity.capture.source import Source
from parity.capture.stored import Storing
from parity.capture.survey import arrays_in, numbers_of
from parity.model import (
    BatchEvent,
    CompanionInfo,
    Item,
    LayerInfo,
    LoaderEvent,
    ObjectInfo,
)
from parity.trace import TraceWriter

PLANNED = 2000
"""Steps after the captured ones for which learning rates are noted, shared among an optimizer's groups."""

_LOADERS = 64
"""Objects that may be loaders which are kept in mind until the first step ends."""


class Declaring(Storing):
    """Describes what the script makes.

    Args:
        writer: The open trace.
        source: Which files are the script's own.
        steps: Training steps to record.
        inference: Whether a step is a call of the model that nothing is learned from; None to find out.
    """

    def __init__(self, writer: TraceWriter, source: Source, steps: int, inference: bool | None = False) -> None:
        super().__init__(writer, source, steps, inference)
        self._layer_ids: dict[int, int] = {}
        self._layers: list[LayerInfo] = []
        self._objects: list[ObjectInfo] = []
        self._configurations: list[tuple[ObjectInfo, Any]] = []
        self._optimizer_names: dict[int, str] = {}
        self._batches = 0
        self.loaders: list[Any] = []
        self.used_loaders: set[int] = set()
        self._loaders: list[LoaderEvent] = []
        self._made_loaders: list[Any] = []
        self._companions: dict[str, CompanionInfo] = {}

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


def _batching(loader: LoaderEvent) -> tuple[str, ...]:
    """By which names a script may call what makes a loader's batches."""
    return "batch", "padded_batch", loader.class_name
