"""How each parameter got its initial values: drawn at random, and then drawn again as often as a test needs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np

from parity.capture.frameworks.base import Adapter, Held, Origin
from parity.model import InitialEvent, TensorRef
from parity.sample import spread
from parity.statistics import widen
from parity.trace import TraceWriter

VALUES = 32768
"""Values that are kept of one distribution: enough to tell scales that differ by 5% at a level of 1e-8."""

_DRAWS = 4096
"""Draws of one parameter at most; those of a few elements stay below `VALUES`."""


class _Sampler:
    """Draws each distribution once, however many parameters share it."""

    def __init__(self, writer: TraceWriter) -> None:
        self.writer = writer
        self.known: dict[Hashable, TensorRef | None] = {}

    def sample(self, origin: Origin, own: np.ndarray) -> TensorRef | None:
        if origin.key is None or origin.draw is None or own.size == 0 or own.dtype.kind != "f":
            return None
        if origin.key not in self.known:
            self.known[origin.key] = self._drawn(origin.draw, own)
        return self.known[origin.key]

    def _drawn(self, draw: Callable[[], np.ndarray | None], own: np.ndarray) -> TensorRef | None:
        rows = [some(own)]
        for _ in range(min(_DRAWS, -(-VALUES // rows[0].size)) - 1):
            fresh = draw()
            if fresh is None or fresh.size != own.size:
                return None
            rows.append(some(fresh))
        return self.writer.put(np.stack(rows).astype(np.float32))


class Unseen(NamedTuple):
    """A parameter's start of which no call is known that can be made again.

    Attributes:
        values: What it holds, flat: the elements that `some` chooses.
        origin: What is known nevertheless.
    """

    values: np.ndarray
    origin: Origin


def some(values: np.ndarray) -> np.ndarray:
    """The elements of a parameter that are kept of each draw, flat."""
    flat = values.reshape(-1)
    return np.asarray(flat[spread(flat.size, min(flat.size, VALUES))])


def record_initials(adapter: Adapter, held: list[Held], writer: TraceWriter) -> dict[str, Unseen]:
    """Writes an `InitialEvent` for each parameter of whose start something was seen.

    The frameworks' random generators are left as they were.

    Args:
        adapter: Knows where a tensor's values came from.
        held: Parameters and buffers of the model.
        writer: The open trace.

    Returns:
        The parameters, by name, that are not constant and were not seen to be made.
    """
    sampler = _Sampler(writer)
    unseen: dict[str, Unseen] = {}
    with adapter.drawing():
        for one in held:
            origin, own = adapter.origin(one.tensor), widen(*adapter.read(one.tensor))
            values = sampler.sample(origin, own) if origin is not None else None
            known = values is not None or (origin is not None and origin.loaded)
            if not known and not one.buffer and own.dtype.kind == "f" and own.size and np.ptp(own) != 0:
                unseen[one.names[0]] = Unseen(some(own), origin or Origin())
            elif origin is not None:
                _write(writer, one.names[0], origin, values)
    return unseen


def record_constructed(unseen: dict[str, Unseen], drawn: dict[str, np.ndarray], writer: TraceWriter) -> None:
    """Writes the `InitialEvent`s of the others.

    Args:
        unseen: Parameters that were not seen to be made, by name.
        drawn: Their values in several constructions, [constructions, elements], of those that were drawn at random.
        writer: The open trace.
    """
    for name, one in unseen.items():
        values = writer.put(drawn[name].astype(np.float32)) if name in drawn else None
        origin = one.origin if values is None else one.origin._replace(key=name)
        if origin != Origin():
            _write(writer, name, origin, values)


def _write(writer: TraceWriter, name: str, origin: Origin, values: TensorRef | None) -> None:
    random = origin.key is not None
    writer.event(InitialEvent(name, random, origin.law, origin.file, origin.line, origin.loaded, values))
