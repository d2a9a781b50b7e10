"""Samples that agree in most places and differ in some: another threshold, a mask that reaches elsewhere."""

from __future__ import annotations

import numpy as np

from parity.data.difference import How, distance

_SIDED = 16
"""Differences that all go one way by chance with a probability of 2^-15."""


def partly(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Most values are equal at their places, far more than by chance.

    Where all that differ are larger, or all are smaller, no random numbers have made them, and it is a difference of
    its own; else two random masks could have done it, whose size is given as 0.

    Args:
        reference: Whole numbers or floats [N, ...].
        candidate: The same shape.
    """
    if reference.shape != candidate.shape or reference.ndim < 2 or len(reference) < 2:
        return None
    equal = reference == candidate
    share, chance = float(equal.mean()), float((reference == np.roll(candidate, 1, axis=0)).mean())
    if share < chance + 0.5 * (1 - chance):
        return None
    r, c = (a[~equal].astype(np.float64) for a in (reference, candidate))
    more = float(np.mean(c > r))
    sided = len(r) >= _SIDED and more in (0.0, 1.0)
    number = np.flatnonzero(~equal.reshape(-1))[0]
    where = [int(n) for n in np.unravel_index(number, equal.shape)]
    ways = f", all {'larger' if more else 'smaller'}" if sided else ""
    text = (
        f"{len(r)} of {equal.size} values differ{ways}, the first at {where}: {c[0]:g} where the reference has {r[0]:g}"
    )
    return [How("values", text, distance(reference, candidate) if sided else 0.0, (float(r[0]), float(c[0])))]
