"""Forcing companions: each is called with the candidate's weights, after the reference's own were held against them."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.align.companions import CompanionValues
from parity.capture.companions import Companion
from parity.capture.force_layers import LayerForcing
from parity.capture.frameworks.base import Held, replace_tensors
from parity.capture.session import Frame
from parity.capture.store import Key


class CompanionForcing(LayerForcing):
    """Forces the weights of models that no optimizer updates, where the script calls them first in a step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._values = CompanionValues(self.candidate.trace)
        self._lifted: set[str] = set()
        self._resting: dict[int, list[Held]] = {}
        self._rested: dict[int, int] = {}
        self._rests: tuple[int, dict[str, np.ndarray]] | None = None
        self._states_of_resting: dict[str, tuple[tuple[int, int], np.ndarray]] = {}

    def _lift(self, companion: Companion) -> None:
        """Takes a companion to the precision of the model."""
        from parity.capture.frameworks.torch_force import double

        if self.double and companion.name not in self._lifted:
            self._lifted.add(companion.name)
            double(companion.layer)
            self.companions.refresh(companion)

    def _on_companion(self, companion: Companion, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if not self._ready or self.step >= self.steps:
            if not self._ready and companion.used < 0:
                self._begin(companion)
            companion.used = self.step
            return args, kwargs
        busy, self.busy = self.busy, True
        self._lift(companion)
        if companion.used != self.step:
            self._force_weights(companion)
        if self.double:
            args = replace_tensors(tuple(args), _lifted, self.adapter.is_tensor)
            kwargs = replace_tensors(kwargs, _lifted, self.adapter.is_tensor)
        self.busy = busy
        return args, kwargs

    def _begin(self, companion: Companion) -> None:
        """A companion that is called before the model starts with the candidate's weights."""
        busy, self.busy = self.busy, True
        shapes = {held.names[0]: tuple(held.tensor.shape) for held in companion.held}
        for name, values in self._values.start(companion.name, shapes).items():
            tensor = next(held.tensor for held in companion.held if held.names[0] == name)
            if tensor.is_floating_point():
                self.adapter.assign(tensor, values)
        self.busy = busy

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        held = self._resting.get(id(frame.layer)) if self._before_idle is None else None
        if held and self._rested.get(id(frame.layer)) != self.step:
            self._rested[id(frame.layer)] = self.step
            busy, self.busy = self.busy, True
            self._force_resting(held)
            self.busy = busy
        return super()._on_enter(frame, args, kwargs)

    def _force_resting(self, held: list[Held]) -> None:
        """Weights of the model that are not trained, where something else changed them on either side."""
        if self._rests is None or self._rests[0] != self.step:
            self._rests = (self.step, self._values.resting(self.step, self.candidate.mapping, self._shapes()))
        for each in held:
            name, tensor = each.names[0], each.tensor
            values = self._rests[1].get(name)
            if values is None or not tensor.is_floating_point():
                continue
            before, state = self._states_of_resting.get(name), (tensor._version, tensor.data_ptr())
            if before is not None and before[0] == state and np.array_equal(before[1], values):
                continue
            if before is not None and self.evaluating:
                self.adapter.assign(tensor, self._moved(values, 2.0**-24))
            elif before is not None:
                pair = next((p for p in self.candidate.mapping.pairs if p.reference == name or name in p.parts), None)
                key: Key = (self.step, "companion", name, 0, "")
                self.measure(key, "optimizer", self._read(tensor), values, candidate=pair.candidate if pair else "")
                self.adapter.assign(tensor, self._moved(values, 2.0**-24))
            self._states_of_resting[name] = ((tensor._version, tensor.data_ptr()), values)

    def _force_weights(self, companion: Companion) -> None:
        closely = companion.used == self.step - 1
        companion.used = self.step
        shapes = {held.names[0]: tuple(held.tensor.shape) for held in companion.held}
        theirs = self._values.at(self.step, companion.name, shapes)
        name = self._values.pairs[companion.name].candidate if theirs else ""
        for held in companion.held:
            values = theirs.get(held.names[0])
            if values is None or not held.tensor.is_floating_point():
                continue
            if closely:
                key: Key = (self.step, "companion", held.names[0], 0, "")
                self.measure(key, "optimizer", self._read(held.tensor), values, candidate=name)
            self.adapter.assign(held.tensor, self._moved(values, 2.0**-24))
        self._name_parameters()


def _lifted(_: str, tensor: Any) -> Any:
    """A tensor that enters a companion, in its precision."""
    return tensor.double() if tensor.is_floating_point() else tensor
