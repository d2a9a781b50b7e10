"""The forcing session over many steps: led along the candidate in some of them, left to itself in the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.align.parameters import to_reference
from parity.capture.force import Forcer
from parity.capture.session import Frame
from parity.model import OptimizerEvent, StateEvent


class SampledForcer(Forcer):
    """Forces the sampled steps. Each begins where the candidate was: its weights, buffers and optimizer state."""

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return (args, kwargs) if self.light else super()._on_enter(frame, args, kwargs)

    def _on_leave(self, frame: Frame, output: Any) -> Any:
        return output if self.light else super()._on_leave(frame, output)

    def _on_backward(self, loss: Any) -> None:
        if not self.light:
            super()._on_backward(loss)

    def _on_gradients(self, gradients: dict[int, Any] | None) -> None:
        if not self.light:
            super()._on_gradients(gradients)

    def _on_optimizer(self, optimizer: Any, gradients: list[Any]) -> list[Any]:
        return gradients if self.light else super()._on_optimizer(optimizer, gradients)

    def _on_updated(self, optimizer: Any) -> None:
        if not self.light:
            super()._on_updated(optimizer)

    def _on_step_end(self) -> None:
        if self.light:
            self._draw_on()
            self._drawn = 0
        else:
            super()._on_step_end()

    def _on_resume(self) -> None:
        known = self.candidate.trace.of(StateEvent, self.step)
        if not known:
            return
        self.busy = True
        shapes = self._shapes()
        values = to_reference(self.candidate.mapping, self.candidate.arrays(known[0].values), shapes)
        for held in self.held:
            if held.names[0] in values and held.tensor.is_floating_point():
                self.adapter.assign(held.tensor, self._moved(values[held.names[0]], 2.0**-24))
        pairs = zip(
            self.reference.of(OptimizerEvent, self.step), self.candidate.optimizers.get(self.step, []), strict=False
        )
        for mine, theirs in pairs:
            if mine.index < len(self.optimizers) and theirs.index < len(known[0].state):
                self._resume(self.optimizers[mine.index], known[0].state[theirs.index])
        self.busy = False

    def _resume(self, optimizer: Any, state: dict[str, Any]) -> None:
        """Gives an optimizer the candidate's state; parameters of which some is unknown are not judged again."""
        states = self._states_of(state)
        held = self.adapter.optimizer_state(optimizer)
        for parameter in self.adapter.optimizer_parameters(optimizer):
            name = self.parameter_name(parameter) or ""
            for key, tensor in held.get(id(parameter), {}).items():
                theirs = states.get(key, {}).get(name)
                if theirs is not None and theirs.size == tensor.numel():
                    self.adapter.assign(tensor, self._moved(np.asarray(theirs), 2.0**-24))
                elif tensor.numel() > 1:
                    self.unknown.add(name)
