"""A session that writes: tensors by their identity and content."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from parity.capture.frameworks.base import tensors_in
from parity.capture.session import Session
from parity.capture.source import Source
from parity.model import (
    Item,
    ParameterInfo,
    SourceEvent,
    TensorRef,
)
from parity.trace import TraceWriter


class Storing(Session):
    """Stores the tensors of a run in a trace.

    Args:
        writer: The open trace.
        source: Which files are the script's own.
        steps: Training steps to record.
        inference: Whether a step is a call of the model that nothing is learned from; None to find out.
    """

    def __init__(self, writer: TraceWriter, source: Source, steps: int, inference: bool | None = False) -> None:
        super().__init__(source, steps, inference=inference)
        self.writer = writer
        self.parameters: list[ParameterInfo] = []
        self._refs: dict[int, TensorRef] = {}

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
