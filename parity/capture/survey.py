"""After the run each data loader is read alone, for up to an epoch: what it yields, how often, in which order."""

from __future__ import annotations

import queue
import threading
import time
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.capture.frameworks.base import Adapter, tensors_in
from parity.model import Column, ColumnStatistics, EpochEvent, LoadedEvent
from parity.samples import digests, sketch
from parity.statistics import widen
from parity.trace import TraceWriter

SECONDS = 20.0
"""Time that reading all the loaders of a side alone may take."""

PATIENCE = 5.0
"""How much longer a loader that gives no batch is waited for, before it is left alone."""

KEPT_BYTES = 24 * 2**20
"""Of each loader the first batches are kept whole, up to this size; of the others a sketch."""

_AXIS = 256
"""Means and deviations are kept by the places of an axis that has at most so many."""

_CLASSES = 1000
"""Values of an integer column are counted while there are at most so many."""

_GLOBALS = 64
"""Global lists of numbers that are noted of a script."""

_FAR = 1e15
"""Larger numbers are no means or deviations, and not all of them are floats."""

Array = tuple[str, np.ndarray, str]
"""Name in the batch, values (bfloat16 as bits in uint16), element type."""


def arrays_in(batch: Any, adapter: Adapter) -> Iterator[Array]:
    """Every tensor and numeric NumPy array of a batch, with its place in the nest."""
    for name, value in tensors_in(batch, lambda v: isinstance(v, np.ndarray) or adapter.is_tensor(v)):
        if isinstance(value, np.ndarray):
            if value.dtype.kind in "fiub":
                yield name, np.array(value, order="C", copy=True), value.dtype.name
        else:
            values, dtype = adapter.read(value)
            if values.dtype.kind in "fiub":
                yield name, values, dtype


def numbers_of(module: types.ModuleType) -> dict[str, list[float]]:
    """A script's global lists of one to sixteen numbers, such as `MEAN` and `STD`."""
    found: dict[str, list[float]] = {}
    for name, value in list(vars(module).items()):
        listed = type(value) in (list, tuple) or (type(value) is np.ndarray and value.ndim == 1)
        if name.startswith("_") or not listed or not 1 <= len(value) <= 16 or len(found) >= _GLOBALS:
            continue
        numbers = [v for v in value if isinstance(v, (int, float, np.integer, np.floating)) and bool(-_FAR < v < _FAR)]
        if len(numbers) == len(value):
            found[name] = [float(v) for v in numbers]
    return found


class _Reader(threading.Thread):
    """Reads one loader in a thread of its own, because a loader may wait for ever."""

    def __init__(self, adapter: Adapter, loader: Any) -> None:
        super().__init__(daemon=True)
        self.adapter = adapter
        self.loader = loader
        self.batches: queue.Queue[list[Array] | str | None] = queue.Queue(maxsize=2)
        self.stopped = False

    def run(self) -> None:
        try:
            for batch in self.adapter.epoch(self.loader):
                if self.stopped:
                    return
                self._put(list(arrays_in(batch, self.adapter)))
        except BaseException as error:  # whatever a script's loader raises is told, and what was read is kept
            self._put(f"it raised {type(error).__name__}: {error}".partition("\n")[0])
        else:
            self._put(None)

    def _put(self, what: list[Array] | str | None) -> None:
        while not self.stopped:
            try:
                self.batches.put(what, timeout=0.1)
                return
            except queue.Full:
                continue


class _Tally:
    """Statistics of one column over batches."""

    def __init__(self, name: str) -> None:
        self.found = ColumnStatistics(name)
        self.sums: dict[str, list[np.ndarray]] = {}
        self.classes: Counter[int] | None = Counter()

    def add(self, values: np.ndarray) -> None:
        """One more batch, [N, ...]."""
        found = self.found
        found.samples += values.shape[0] if values.ndim else 1
        found.values += values.size
        if not values.size:
            return
        if values.dtype.kind == "f":
            self.classes = None
            finite = np.isfinite(values)
            if not finite.all():
                found.nonfinite += int(values.size - finite.sum())
                values = np.where(finite, values, 0)
                if not finite.any():
                    return
        low, high = float(values.min()), float(values.max())
        found.minimum = low if found.minimum is None else min(found.minimum, low)
        found.maximum = high if found.maximum is None else max(found.maximum, high)
        if self.classes is not None:
            distinct, counts = np.unique(values, return_counts=True)
            self.classes.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
            self.classes = self.classes if len(self.classes) <= _CLASSES else None
        wide = values.astype(np.float64)
        for axis in {1, values.ndim - 1} if values.ndim > 1 else {0}:
            if axis and values.shape[axis] > _AXIS:
                continue
            others = tuple(i for i in range(values.ndim) if i != axis or not axis)
            count = np.array([values.size / (values.shape[axis] if axis else 1)])
            sums = [count, np.atleast_1d(wide.sum(others)), np.atleast_1d((wide * wide).sum(others))]
            for key in {"1" if axis == 1 else "-1", "-1" if axis == values.ndim - 1 else "1"} if axis else {"0"}:
                old = self.sums.get(key)
                if old is None:
                    self.sums[key] = sums
                elif old[1].shape == sums[1].shape:
                    self.sums[key] = [a + b for a, b in zip(old, sums, strict=True)]

    def result(self) -> ColumnStatistics:
        for key, (count, total, squares) in self.sums.items():
            mean = total / count
            self.found.means[key] = mean.tolist()
            self.found.deviations[key] = np.sqrt(np.maximum(squares / count - mean * mean, 0)).tolist()
        if self.classes is not None:
            self.found.classes = {str(value): count for value, count in sorted(self.classes.items())}
        return self.found


def survey(
    writer: TraceWriter, adapter: Adapter, loaders: list[Any], used: set[int], limit: int, seconds: float
) -> None:
    """Reads each loader for up to an epoch and writes what it gave; those that gave batches before come first.

    Args:
        writer: The open trace.
        adapter: The framework that the loaders belong to.
        loaders: In the order of their numbers.
        used: Which of them gave batches.
        limit: Batches of each.
        seconds: For all of them together.
    """
    ends = time.perf_counter() + seconds
    for number in sorted(range(len(loaders)), key=lambda n: n not in used):
        loader = loaders[number]
        reader = _Reader(adapter, loader)
        reader.start()
        _Survey(writer, number, limit).read(reader, ends, seconds)


class _Survey:
    """What one loader gives, written as it comes."""

    def __init__(self, writer: TraceWriter, number: int, limit: int) -> None:
        self.writer = writer
        self.number = number
        self.limit = limit
        self.tallies: dict[str, _Tally] = {}
        self.kept = self.samples = self.count = 0

    def read(self, reader: _Reader, ends: float, seconds: float) -> None:
        """Takes batches until the epoch, the limit or the time ends (`ends` of the clock, `seconds` in words)."""
        start = time.perf_counter()
        complete, why = False, None
        while why is None and not complete:
            if self.count >= self.limit:
                why = f"only {self.limit} batches are read"
                break
            try:
                batch = reader.batches.get(timeout=max(ends - time.perf_counter(), 0.1))
            except queue.Empty:
                why = f"only {seconds:g} seconds are read"
                break
            if batch is None:
                complete = True
            elif isinstance(batch, str):
                why = batch
            else:
                self._add(batch)
        reader.stopped = True
        reader.join(PATIENCE)
        statistics = [tally.result() for tally in self.tallies.values()]
        spent = time.perf_counter() - start
        self.writer.event(EpochEvent(self.number, self.count, self.samples, complete, why, spent, statistics))

    def _keeps(self, size: int) -> bool:
        """Whether a batch of so many bytes is kept whole: there is room, and tensors are stored at all."""
        limit = self.writer.limit
        room = limit is None or self.writer.written + size < limit / 2
        return self.writer.keeping and room and self.kept + size <= KEPT_BYTES

    def _add(self, batch: list[Array]) -> None:
        columns = []
        size = sum(values.nbytes for _, values, _ in batch)
        for index, (name, values, dtype) in enumerate(batch):
            rows = values if values.ndim else values.reshape(1)
            self.samples += len(rows) if index == 0 else 0
            wide = widen(rows, dtype)
            self.tallies.setdefault(name, _Tally(name)).add(wide)
            whole = self.writer.put(values, dtype) if self._keeps(size) else None
            with self.writer.needed():
                marks = self.writer.put(sketch(wide))
            columns.append(Column(name, dtype, values.shape, digests(rows), marks, whole))
        self.kept += size
        self.writer.event(LoadedEvent(self.number, self.count, columns))
        self.count += 1
