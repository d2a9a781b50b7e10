"""What stands in for a trace's writer where a run is not to be written down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from parity.digest import digest_of
from parity.model import Event, TensorRef
from parity.statistics import widen


class Memory:
    """Keeps tensors and records in memory.

    Attributes:
        arrays: The tensors by their digests, bfloat16 widened.
        events: The records, where nothing hears them.
        heard: Takes each record instead.
        written: Bytes on disk.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.events: list[Event] = []
        self.heard: Callable[[Event], None] | None = None
        self.written = 0

    def put(self, array: np.ndarray, dtype: str | None = None) -> TensorRef:
        """Keeps a tensor."""
        name = dtype or array.dtype.name
        ref = TensorRef(digest_of(array, name), name, tuple(array.shape))
        if ref.digest not in self.arrays:
            self.arrays[ref.digest] = widen(np.array(array), name)
        return ref

    def needed(self) -> nullcontext[None]:
        """Everything is kept."""
        return nullcontext()

    def event(self, event: Event) -> None:
        """Keeps a record, or hands it on."""
        if self.heard is not None:
            self.heard(event)
        else:
            self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        """The records of a kind."""
        return [e for e in self.events if isinstance(e, kind)]

    def layers(self, layers: Any) -> None:
        """The tree is not kept."""
