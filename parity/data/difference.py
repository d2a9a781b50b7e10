"""The result of comparing two arrays of samples, and when they count as equal."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

RTOL = 1e-5
"""Relative to the spread of the values: how far preprocessing in float32 may be off by its own rounding."""


class How(NamedTuple):
    """One way in which the candidate's samples differ.

    Attributes:
        kind: A stable slug.
        text: What the candidate has, where the reference has something else.
        size: RMS distance relative to the reference's RMS, as far as this difference makes it (1 where it is whole).
        value: (reference, candidate), where the difference has values.
        factors: For a rescaling: slope and intercept for each channel.
    """

    kind: str
    text: str
    size: float
    value: tuple[Any, Any] | None = None
    factors: tuple[list[float], list[float]] | None = None


def agree(reference: np.ndarray, candidate: np.ndarray, tolerance: float = RTOL) -> bool:
    """Whether two arrays of one shape hold the same samples but for rounding; NaN and Inf at the same places."""
    if reference.shape != candidate.shape:
        return False
    if reference.dtype.kind in "iub" and candidate.dtype.kind in "iub":
        return bool(np.array_equal(reference, candidate))
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    finite = np.isfinite(r)
    if not finite.all() or not np.isfinite(c).all():
        if not np.array_equal(r[~finite], c[~finite], equal_nan=True) or not np.isfinite(c[finite]).all():
            return False
        r, c = r[finite], c[finite]
    if not r.size:
        return True
    spread = float(r.std())
    bound = tolerance * spread if spread > 0 else tolerance * max(float(np.abs(r).max()), 1e-12)
    bound += 1e-6 * float(np.abs(r).max())
    return bool(np.max(np.abs(r - c)) <= bound)


def distance(reference: np.ndarray, candidate: np.ndarray) -> float:
    """RMS of the difference relative to the reference's RMS; absolute where that is 0."""
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    mask = np.isfinite(r) & np.isfinite(c)
    if not mask.any():
        return 0.0
    scale = float(np.sqrt(np.mean(r[mask] ** 2)))
    error = float(np.sqrt(np.mean((r[mask] - c[mask]) ** 2)))
    return error / scale if scale > 0 else error


def shaped(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray | None:
    """The reference in the candidate's shape, where they differ only by axes of extent 1; else None."""
    core = [tuple(n for n in a.shape[1:] if n != 1) for a in (reference, candidate)]
    if len(reference) != len(candidate) or core[0] != core[1]:
        return None
    return reference.reshape(candidate.shape)


def finite_match(reference: np.ndarray, candidate: np.ndarray) -> How | None:
    """Missing or infinite values that only one side has."""
    if reference.dtype.kind != "f" and candidate.dtype.kind != "f":
        return None
    r, c = (~np.isfinite(a.astype(np.float64)) for a in (reference, candidate))
    if np.array_equal(r, c):
        return None
    text = f"{int(c.sum())} NaN or Inf of {c.size} values where the reference has {int(r.sum())}"
    return How("missing-values", text, 1.0, (int(r.sum()), int(c.sum())))
