"""What a trace holds of data loaders: their arguments, the batches of the captured steps, the epoch read afterwards."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from parity.document import Place
from parity.model import BatchEvent, Column, EpochEvent, Item, LoadedEvent, LoaderEvent, PipelineOp, TensorRef
from parity.samples import MARKS
from parity.trace import Trace

LOOKED_AT = 2**24
"""Elements of a column that are compared one by one; of a longer run those of the first steps."""


class Loader(NamedTuple):
    """One data loader of one side."""

    trace: Trace
    event: LoaderEvent
    used: list[BatchEvent]
    read: list[LoadedEvent]
    epoch: EpochEvent | None

    @property
    def name(self) -> str:
        """What the script calls it, else its class."""
        return self.event.name or self.event.class_name

    @property
    def columns(self) -> list[Item]:
        """The tensors of its first batch."""
        if self.used:
            return self.used[0].items
        first = self.read[0].columns if self.read else []
        return [Item(c.name, -1, TensorRef("", c.dtype, c.shape)) for c in first]

    @property
    def complete(self) -> bool:
        """Whether a whole epoch was read."""
        return self.epoch is not None and self.epoch.complete

    def place(self, op: PipelineOp | None = None, value: Any = None) -> Place:
        """Where the script makes it, or an operation of its pipeline."""
        file, line = (op.file, op.line) if op is not None and op.file else (self.event.file, self.event.line)
        return Place(self.name, file, line, value)

    def argument(self, *names: str) -> Any:
        """The first of these arguments that it has."""
        return next((self.event.arguments[n] for n in names if self.event.arguments.get(n) is not None), None)

    def first(self, *names: str) -> PipelineOp | None:
        """The first operation of one of these names (the part after the last dot counts)."""
        return next((op for op in self.event.pipeline if op.name.rpartition(".")[2] in names), None)

    def every(self, *names: str) -> list[PipelineOp]:
        """All operations of these names."""
        return [op for op in self.event.pipeline if op.name.rpartition(".")[2] in names]

    def source(self) -> PipelineOp | None:
        """The operation that decides about the order: a sampler's dataset, or the pipeline's source."""
        return next((op for op in self.event.pipeline if op.arguments.get("shuffle") is not None and op.file), None)

    def whole(self, index: int) -> list[np.ndarray]:
        """The kept batches of the column at this place, of the epoch read afterwards."""
        found = []
        for batch in self.read:
            ref = batch.columns[index].ref if index < len(batch.columns) else None
            if ref is None:
                break
            found.append(self.trace.array(ref))
        return found

    def sketches(self, index: int) -> np.ndarray:
        """The sketches of every sample read of one column, float64 [samples, 6]."""
        found = [self.trace.array(b.columns[index].sketch) for b in self.read if index < len(b.columns)]
        if not found or any(part.ndim != 2 or part.shape[1] != MARKS for part in found):
            return np.zeros((0, MARKS))
        return np.concatenate(found)

    def digests(self) -> list[str]:
        """One digest for each sample read, all columns together."""
        found: list[str] = []
        for batch in self.read:
            rows = min((len(c.digests) // 16 for c in batch.columns), default=0)
            found += ["".join(c.digests[16 * i : 16 * i + 16] for c in batch.columns) for i in range(rows)]
        return found

    def repeats(self) -> bool | None:
        """Whether the epoch read afterwards begins with the batches that training saw; None where it cannot be told."""
        seen = [b for b in self.used if 0 <= b.position < len(self.read)]
        first = [b for b in seen[: _first_epoch(seen)] if b.items]
        if not first:
            return None
        return all(self._equal(b.items, self.read[b.position].columns) for b in first)

    def _equal(self, items: list[Item], columns: list[Column]) -> bool:
        if len(items) != len(columns):
            return False
        for item, column in zip(items, columns, strict=True):
            if item.ref.shape != column.shape:
                return False
            if column.ref is not None and not same_values(self.trace, item.ref, self.trace, column.ref):
                return False
        return True


def _first_epoch(batches: list[BatchEvent]) -> int:
    """How many batches there are before the position falls back."""
    for number in range(1, len(batches)):
        if batches[number].position <= batches[number - 1].position:
            return number
    return len(batches)


def same_values(mine: Trace, ref: TensorRef, theirs: Trace, other: TensorRef) -> bool:
    """Whether two stored tensors hold the same numbers, whatever their types."""
    if ref.digest == other.digest:
        return True
    floats = ref.dtype.startswith(("float", "bfloat"))
    return bool(np.array_equal(mine.array(ref), theirs.array(other), equal_nan=floats))


def loaders_of(trace: Trace, *, used_only: bool = True) -> list[Loader]:
    """The loaders that gave batches to training steps, in the order of their first use.

    Args:
        trace: One side.
        used_only: Else the others, in the order in which they were made.
    """
    used: dict[int, list[BatchEvent]] = {}
    for batch in trace.of(BatchEvent):
        if batch.items and batch.step < trace.meta.steps:
            used.setdefault(batch.source, []).append(batch)
    read: dict[int, list[LoadedEvent]] = {}
    for loaded in trace.of(LoadedEvent):
        read.setdefault(loaded.loader, []).append(loaded)
    epochs = {event.loader: event for event in trace.of(EpochEvent) if _sound(event)}
    events = {event.id: event for event in trace.of(LoaderEvent)}
    wanted = list(used) if used_only else [n for n in events if n not in used and read.get(n)]
    return [
        Loader(trace, events[number], used.get(number, []), read.get(number, []), epochs.get(number))
        for number in wanted
        if number in events
    ]


def _sound(epoch: EpochEvent) -> bool:
    """Whether the statistics of an epoch can be computed with, whoever wrote them."""
    for column in epoch.columns:
        if column.means.keys() != column.deviations.keys():
            return False
        if any(len(column.means[key]) != len(column.deviations[key]) for key in column.means):
            return False
        if not all(key.lstrip("-").isdecimal() for key in column.classes or ()):
            return False
    return True


def pair_loaders(reference: list[Loader], candidate: list[Loader]) -> list[tuple[Loader, Loader]]:
    """Loaders of both sides that feed the same: the same number of columns, else the same place."""
    pairs: list[tuple[Loader, Loader]] = []
    left = list(candidate)
    for mine in reference:
        if not left:
            break
        best = max(left, key=lambda other: (_likeness(mine, other), -left.index(other)))
        left.remove(best)
        pairs.append((mine, best))
    return pairs


def _likeness(mine: Loader, theirs: Loader) -> int:
    shapes = [[tuple(sorted(i.ref.shape[1:])) for i in side.columns] for side in (mine, theirs)]
    alike = sum(bool(a == b) for a, b in zip(*shapes, strict=False))
    return alike - abs(len(shapes[0]) - len(shapes[1]))


def pair_columns(reference: list[Item], candidate: list[Item]) -> list[tuple[int, int]]:
    """Columns of both sides that hold the same: by name, then by type and shape, then by place."""
    pairs: list[tuple[int, int]] = []
    mine, theirs = list(range(len(reference))), list(range(len(candidate)))

    def take(fits: Any) -> None:
        for a in list(mine):
            b = next((b for b in theirs if fits(reference[a], candidate[b])), None)
            if b is not None:
                pairs.append((a, b))
                mine.remove(a)
                theirs.remove(b)

    named = not all(i.name.isdigit() for i in (*reference, *candidate))
    if named:
        take(lambda a, b: a.name == b.name)
    take(lambda a, b: _kind(a) == _kind(b) and a.ref.shape[1:] == b.ref.shape[1:])
    take(lambda a, b: sorted(a.ref.shape[1:]) == sorted(b.ref.shape[1:]))
    take(lambda a, b: len(a.ref.shape) == len(b.ref.shape))
    pairs += list(zip(mine, theirs, strict=False))
    return sorted(pairs)


def _kind(item: Item) -> str:
    return "float" if item.ref.dtype.startswith(("float", "bfloat")) else "whole"
