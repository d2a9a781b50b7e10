"""What rounding alone does to a loss curve: the reference again, its weights moved by some units after each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.capture.session import Session, StopRun
from parity.capture.source import Source

RUNS = 5
"""Runs with moved weights."""

UNITS = 32.0
"""Units of rounding by which each weight is moved after each step: with as many, and a factor of 5, none of 30 benign
runs leaves the envelope (CNN and transformer, Ipsen and Zhou's model of rounding as random relative errors)."""

SATURATED = 0.01
"""Relative distance at which curves say nothing any more: rounding has taken over."""


class Perturbed(Session):
    """One run with moved weights; it ends where its loss has left the undisturbed one by `SATURATED`.

    Args:
        source: Which files are the script's own.
        steps: Training steps.
        losses: The undisturbed run's losses [T].
        seed: Of the movements.
    """

    def __init__(self, source: Source, steps: int, losses: list[float], seed: int) -> None:
        super().__init__(source, steps)
        self.sampled = frozenset()
        self.found: list[float] = []
        self._losses = losses
        self._present: list[float] = []
        self._generator = np.random.default_rng([11, seed])

    def _on_backward(self, loss: Any) -> None:
        if loss is not None:
            self.busy = True
            self._present.append(float(np.mean(np.asarray(self.adapter.read(loss)[0], np.float64))))
            self.busy = False

    def _on_step_end(self) -> None:
        loss = float(np.mean(self._present)) if self._present else float("nan")
        self._present = []
        self.found.append(loss)
        self.busy = True
        for held in self.held:
            values, dtype = self.adapter.read(held.tensor)
            if held.trainable and dtype in ("float32", "float64"):
                moved = 1 + UNITS * 2.0**-24 * self._generator.uniform(-1, 1, values.shape)
                self.adapter.assign(held.tensor, (values * moved).astype(values.dtype))
        self.busy = False
        base = self._losses[self.step] if self.step < len(self._losses) else loss
        if not abs(loss - base) < SATURATED * abs(base):
            self.finished = True
            raise StopRun
