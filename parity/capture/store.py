"""What the passes of a forced run share: the float64 values of all boundaries, and what was measured there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from parity.measured import Measured
from parity.model import CallEvent
from parity.space import disk_full, over_limit

Key = tuple[int, str, str, int, str]
"""Step, kind of boundary, the reference's path or parameter, call or optimizer, place in the nest."""


class Store:
    """The float64 values of all boundaries, which the further passes are held against, on disk.

    Args:
        folder: Where they lie.
        limit: Bytes that they may take.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self._limit = limit
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by close)
        self._places: dict[Key, tuple[int, tuple[int, ...]]] = {}
        self._records: dict[Key, Measured] = {}
        self.layouts: dict[Key, tuple[str, tuple[int, ...]]] = {}
        self.inner: set[Key] = set()
        self.snaps: dict[tuple[int, int], Any] = {}
        self.scales: dict[int, float] = {}
        self.alike: dict[Key, CallEvent] = {}

    def clear(self) -> None:
        """Forgets an unfinished pass."""
        self._places.clear()
        self._records.clear()
        self.layouts.clear()
        self.inner.clear()
        self.snaps.clear()
        self.alike.clear()

    def save(self, key: Key, values: np.ndarray, record: Measured) -> None:
        """Keeps a value and what was measured at it."""
        offset = self._file.seek(0, 2)
        if self._limit is not None and offset + 8 * values.size > self._limit:
            raise over_limit("the forced run", self._limit)
        try:
            self._file.write(np.ascontiguousarray(values, np.float64).tobytes())
        except OSError as error:
            raise disk_full(self._folder, error) from None
        self._places[key] = (offset, values.shape)
        record.order = len(self._records)
        self._records[key] = record

    def load(self, key: Key) -> np.ndarray | None:
        """The float64 value kept under a key."""
        place = self._places.get(key)
        if place is None:
            return None
        offset, shape = place
        size = int(np.prod(shape)) if shape else 1
        self._file.seek(offset)
        return np.frombuffer(self._file.read(size * 8), np.float64).reshape(shape)

    def record(self, key: Key) -> Measured | None:
        """What was measured under a key."""
        return self._records.get(key)

    def records(self) -> list[Measured]:
        """Everything measured, in the order of the float64 pass."""
        return list(self._records.values())

    def close(self) -> None:
        """Removes the values."""
        self._file.close()
