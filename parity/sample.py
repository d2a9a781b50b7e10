"""Which elements of a large tensor stand for all of them."""

from __future__ import annotations

import numpy as np


def spread(size: int, count: int) -> np.ndarray:
    """Increasing indices of `count` elements out of `size`, one at a random place in each of `count` equal parts.

    The same for the same arguments, so that what was sampled by them can be found again.

    Args:
        size: Number of elements.
        count: At most `size`.

    Returns:
        int64 [count].
    """
    if count >= size:
        return np.arange(size)
    width = size / count
    places = (np.arange(count) + np.random.RandomState(0).random_sample(count)) * width
    return np.minimum(places.astype(np.int64), size - 1)
