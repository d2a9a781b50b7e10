"""Traces written by hand, event by event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from parity.model import (
    Event,
    Item,
    Layers,
    LossEvent,
    Meta,
    OpEvent,
    OptimizerEvent,
    ParameterGradEvent,
    ParameterInfo,
    SourceEvent,
    TensorRef,
)  # fmt: skip
from parity.trace import Trace, TraceWriter


class Written:
    """A trace in the making.

    Args:
        folder: Where it is written.
        name: Of the trace.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.trace"
        self.writer = TraceWriter(self.path)
        self.parameters: list[ParameterInfo] = []
        self.steps = 0
        self._ids = 0

    def put(self, values: Any) -> TensorRef:
        """A tensor of float32."""
        return self.writer.put(np.asarray(values, np.float32))

    def event(self, event: Event) -> None:
        """Any record."""
        self.writer.event(event)

    def parameter(self, name: str, values: Any) -> None:
        """A trainable parameter."""
        ref = self.put(values)
        self.parameters.append(
            ParameterInfo(name, name.rpartition(".")[0], name, ref.shape, ref.dtype, True, False, [name], ref, ref)
        )

    def loss(self, step: int, value: float, backward: int = 0) -> None:
        """The loss of a step's backward pass."""
        self.steps = max(self.steps, step + 1)
        self.event(LossEvent(step, backward, 1, self.put(value)))

    def op(self, step: int, name: str, values: Any, inputs: tuple[int, ...] = ()) -> int:
        """An op, and the identity of what it made."""
        self._ids += 1
        ref = self.put(values)
        self.event(
            OpEvent(
                self._ids, step, "train", name, None, "layer", "run.py", 7, list(inputs), [], [],
                [Item("", self._ids, ref)],
            )
        )  # fmt: skip
        return self._ids

    def source(self, step: int, values: Any) -> int:
        """A tensor from outside."""
        self._ids += 1
        self.event(SourceEvent(step, self._ids, self.put(values), "batch"))
        return self._ids

    def gradients(self, step: int, backward: int, values: dict[str, Any]) -> None:
        """What a backward pass made."""
        for name, gradient in values.items():
            self.event(ParameterGradEvent(step, backward, name, self.put(gradient)))

    def update(
        self, step: int, given: dict[str, Any], before: dict[str, Any], after: dict[str, Any], **settings: Any
    ) -> OptimizerEvent:
        """An optimizer's call."""
        self.steps = max(self.steps, step + 1)
        event = OptimizerEvent(
            step, 0, "optimizer", "SGD", [{"lr": 0.1, **settings, "parameters": list(after)}],
            *({name: self.put(v) for name, v in part.items()} for part in (given, before, after)), {},
        )  # fmt: skip
        self.event(event)
        return event

    def trace(self, **environment: Any) -> Trace:
        """The finished trace."""
        self.writer.layers(Layers([], self.parameters))
        self.writer.meta(Meta(framework="torch", steps=self.steps, complete=True, environment=environment))
        self.writer.flush()
        self.writer.finish()
        return Trace(self.path)
