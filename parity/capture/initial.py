"""How each parameter got its initial values: drawn at random, and then drawn again as often as a test needs."""

from __future__ import annotations

from collections.abc import Callable, Hashable

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
        chosen = spread(own.size, min(own.size, VALUES))
        rows = [own.reshape(-1)[chosen]]
        for _ in range(min(_DRAWS, -(-VALUES // chosen.size)) - 1):
            fresh = draw()
            if fresh is None or fresh.size != own.size:
                return None
            rows.append(fresh.reshape(-1)[chosen])
        return self.writer.put(np.stack(rows).astype(np.float32))


def record_initials(adapter: Adapter, held: list[Held], writer: TraceWriter) -> None:
    """Writes an `InitialEvent` for each parameter that was drawn at random or loaded.

    The frameworks' random generators are left as they were.

    Args:
        adapter: Knows where a tensor's values came from.
        held: Parameters and buffers of the model.
        writer: The open trace.
    """
    sampler = _Sampler(writer)
    with adapter.drawing():
        for one in held:
            origin = adapter.origin(one.tensor)
            if origin is None:
                continue
            values = sampler.sample(origin, widen(*adapter.read(one.tensor)))
            random = origin.key is not None
            writer.event(
                InitialEvent(one.names[0], random, origin.law, origin.file, origin.line, origin.loaded, values)
            )
