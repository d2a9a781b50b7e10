"""Dropout masks that both frameworks can share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class MaskStream:
    """A sequence of dropout masks that depends on nothing but the number of the call, the shape and the rate."""

    def __init__(self) -> None:
        self._call = 0

    def mask(self, shape: tuple[int, ...], rate: float) -> npt.NDArray[np.float32]:
        """Gives the next mask, float32 of `shape`: 0 with probability `rate`, else 1 / (1 - rate)."""
        self._call += 1
        keep = np.random.RandomState(self._call).random_sample(shape) >= rate
        return (keep / (1 - rate)).astype(np.float32)
