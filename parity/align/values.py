"""Comparing tensors as values: distances, layouts that hold the same numbers, and a search by sketch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

SKETCH = 1024
"""Elements of a tensor that stand for it in a search."""


def rms(values: np.ndarray) -> float:
    """Root mean square over the finite elements, in float64."""
    flat = np.asarray(values, np.float64).reshape(-1)
    if flat.size == 0:
        return 0.0
    square = float(np.dot(flat, flat)) / flat.size
    if not np.isfinite(square):
        flat = flat[np.isfinite(flat)]
        square = float(np.dot(flat, flat)) / flat.size if flat.size else 0.0
    return float(np.sqrt(square))


_ORDINARY = 1e4
"""No sentinel is smaller."""


def tame(values: np.ndarray) -> np.ndarray:
    """The values with sentinels set to 0: a mask of -1e9 among scores would else be all that a norm sees.

    A sentinel is larger than 1e4 and than a thousand times the median of the magnitudes below that. Returns the
    values themselves where there is none.
    """
    if values.dtype.kind != "f" or values.size == 0:
        return values
    high = float(np.abs(values).max())
    if not _ORDINARY < high < np.inf:
        return values
    magnitudes = np.abs(values)
    ordinary = magnitudes[magnitudes <= _ORDINARY]
    if ordinary.size == 0:
        return values
    limit = max(_ORDINARY, 1e3 * float(np.median(ordinary)))
    return np.where(magnitudes > limit, 0.0, values) if high > limit else values


def tame_both(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the sentinels set to 0 that the other has too: what only one side masks out is a difference.

    Args:
        a: Any shape.
        b: The same shape.
    """
    tamed, other = tame(a), tame(b)
    if tamed is a and other is b:
        return a, b
    lone = ((tamed != a) & (np.abs(b) <= _ORDINARY)) | ((other != b) & (np.abs(a) <= _ORDINARY))
    return (np.where(lone, a, tamed), np.where(lone, b, other)) if lone.any() else (tamed, other)


class Gap(NamedTuple):
    """How far one tensor is from another (RMS of the difference), and the RMS of the other."""

    error: float
    scale: float

    @property
    def relative(self) -> float:
        """The error divided by the scale, absolute where that is 0."""
        return self.error / self.scale if self.scale > 0 else self.error


def quick_gap(a: np.ndarray, b: np.ndarray) -> Gap | None:
    """The distance of `a` from `b` in one walk over both; None where single precision does not do.

    Pieces are small enough for the processor's cache. Where values may be NaN, Inf, sentinels, or so small that their
    squares vanish, the careful way is wanted.

    Args:
        a: float32, any shape.
        b: float32 of the same shape.
    """
    if a.dtype != np.float32 or b.dtype != np.float32 or a.shape != b.shape or a.size < _PIECE // 64:
        return None
    if not (a.flags.c_contiguous and b.flags.c_contiguous):
        return None
    flat, other = a.reshape(-1), b.reshape(-1)
    buffer = np.empty(min(_PIECE, flat.size), np.float32)
    error = scale = 0.0
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for start in range(0, flat.size, _PIECE):
            x, y = flat[start : start + _PIECE], other[start : start + _PIECE]
            difference = np.subtract(x, y, out=buffer[: x.size])
            square, own = float(np.dot(difference, difference)), float(np.dot(y, y))
            if not (square < 1e8 and own < 1e8):
                return None
            error, scale = error + square, scale + own
    if scale / flat.size < 1e-16:
        return None
    return Gap(math.sqrt(error / flat.size), math.sqrt(scale / flat.size))


_PIECE = 2**16


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """RMS of `a - b` divided by the RMS of `b` (absolute where that is 0), sentinels apart.

    Infinite where their shapes differ, or their NaN and Inf do not stand at the same places with the same signs.
    """
    if a.shape != b.shape:
        return float("inf")
    quick = quick_gap(a, b)
    if quick is not None:
        return quick.relative
    a, b = tame_both(np.asarray(a, np.float64), np.asarray(b, np.float64))
    with np.errstate(invalid="ignore"):
        difference = a - b
    bad = ~np.isfinite(difference)
    if bad.any():
        if not np.array_equal(a[bad], b[bad], equal_nan=True):
            return float("inf")
        difference = np.where(bad, 0.0, difference)
    scale = rms(b)
    return rms(difference) / scale if scale > 0 else rms(difference)


def layout(candidate: np.ndarray, reference: np.ndarray) -> tuple[str, tuple[int, ...]] | None:
    """How the candidate's tensor has to be rearranged to lie as the reference's: nothing, a view, or a transposition.

    Where several fit the shapes, the values decide.

    Returns:
        (`"same"`, ()), (`"view"`, shape) or (`"permute"`, (*axes, -1, *shape)), (`"unfold"`, (axis, *shape)) where its
        last axis is the reference's `axis` and its others are flattened, (`"spread"`, axes) where the candidate
        repeats a tensor along axes, None where nothing fits.
    """
    if candidate.size != reference.size:
        return _spread(candidate, reference)
    if candidate.shape == reference.shape:
        best: tuple[float, tuple[str, tuple[int, ...]]] = (distance(candidate, reference), ("same", ()))
    else:
        best = (distance(candidate.reshape(reference.shape), reference), ("view", tuple(reference.shape)))
    if best[0] > 1e-3 and 2 <= candidate.ndim <= 5:
        for axes in itertools.permutations(range(candidate.ndim)):
            if axes == tuple(range(candidate.ndim)):
                continue
            found = distance(candidate.transpose(axes).reshape(reference.shape), reference)
            if found < 0.1 * best[0]:
                best = (found, ("permute", (*axes, -1, *reference.shape)))
    if best[0] > 1e-3 and 2 <= candidate.ndim < reference.ndim:
        for axis in range(reference.ndim - 1):
            shape = (*reference.shape[:axis], *reference.shape[axis + 1 :], reference.shape[axis])
            found = distance(np.moveaxis(candidate.reshape(shape), -1, axis), reference)
            if found < 0.1 * best[0]:
                best = (found, ("unfold", (axis, *shape)))
    return best[1]


def _spread(candidate: np.ndarray, reference: np.ndarray) -> tuple[str, tuple[int, ...]] | None:
    """Whether the candidate repeats the reference's tensor along axes where that has length 1."""
    if candidate.ndim != reference.ndim:
        return None
    axes = tuple(i for i, (a, b) in enumerate(zip(candidate.shape, reference.shape, strict=True)) if a != b)
    if any(reference.shape[i] != 1 for i in axes):
        return None
    first = candidate[tuple(slice(0, 1) if i in axes else slice(None) for i in range(candidate.ndim))]
    return ("spread", axes) if np.array_equal(np.broadcast_to(first, candidate.shape), candidate) else None


def lay(values: np.ndarray, how: tuple[str, tuple[int, ...]], *, gradient: bool = False) -> np.ndarray:
    """Rearranges as `layout` found. A gradient at a repeated tensor is summed over its copies.

    Raises:
        ValueError: The tensor has other axes than the one for which the layout was found.
    """
    kind, detail = how
    if kind == "view":
        return values.reshape(detail)
    if kind == "spread":
        if gradient:
            return np.asarray(values.sum(axis=detail, keepdims=True))
        return values[tuple(slice(0, 1) if i in detail else slice(None) for i in range(values.ndim))]
    if kind == "unfold":
        return np.moveaxis(values.reshape(detail[1:]), -1, detail[0])
    if kind == "permute":
        split = detail.index(-1)
        return values.transpose(detail[:split]).reshape(detail[split + 1 :])
    return values


def _stood_in(values: np.ndarray) -> np.ndarray:
    """The values with each sentinel as a multiple of what is ordinary: which one it is does not matter, but where."""
    tamed = tame(values)
    return tamed if tamed is values else np.where(tamed != values, np.sign(values) * 8 * rms(tamed), tamed)


class Sketch:
    """A tensor's stand-in for searching: evenly spread elements in its own order, and moments that no order changes."""

    __slots__ = ("moments", "sample", "scale", "size")

    def __init__(self, values: np.ndarray) -> None:
        flat = _stood_in(np.asarray(values)).reshape(-1)
        self.size = flat.size
        step = max(1, flat.size // SKETCH)
        self.sample = np.array(flat[::step][:SKETCH], np.float64)
        wide = np.asarray(flat, np.float64)
        with np.errstate(all="ignore"):
            square = float(np.dot(wide, wide))
            self.scale = float(np.sqrt(square / max(1, wide.size)))
            self.moments = np.array([wide.sum(), np.abs(wide).sum(), square, float(np.dot(wide * wide, wide))])


class Index:
    """Sketches of one step's tensors, found again by value."""

    def __init__(self) -> None:
        self._by_size: dict[int, list[tuple[int, Sketch]]] = {}
        self._stacked: dict[int, tuple[np.ndarray, np.ndarray, list[int]]] = {}

    def add(self, key: int, sketch: Sketch) -> None:
        """Adds a tensor under a number of the caller's."""
        self._by_size.setdefault(sketch.size, []).append((key, sketch))
        self._stacked.pop(sketch.size, None)

    def __iter__(self) -> Iterator[tuple[int, Sketch]]:
        for entries in self._by_size.values():
            yield from entries

    def nearest(self, sketch: Sketch) -> list[tuple[float, int, bool]]:
        """The most alike tensors of the same size.

        Returns:
            Up to 8 of (estimated relative distance, key, whether only in another order of elements), nearest first.
        """
        entries = self._by_size.get(sketch.size)
        if not entries:
            return []
        stacked = self._stacked.get(sketch.size)
        if stacked is None:
            stacked = self._stacked[sketch.size] = (
                np.stack([s.sample for _, s in entries]),
                np.stack([s.moments for _, s in entries]),
                [key for key, _ in entries],
            )
        samples, moments, keys = stacked
        with np.errstate(all="ignore"):
            scale = float(np.sqrt(np.mean(sketch.sample**2))) or 1.0
            gap = np.sqrt(np.mean((samples - sketch.sample) ** 2, axis=1)) / scale
            total = np.array([sketch.moments[1], sketch.moments[1], sketch.moments[2], 0.0]) + 1e-300
            total[3] = float(sketch.moments[2] * sketch.scale) + 1e-300
            moved = np.max(np.abs(moments - sketch.moments) / total, axis=1)
        gap = np.where(np.isfinite(gap), gap, np.inf)
        moved = np.where(np.isfinite(moved), moved, np.inf)
        direct = [(float(gap[i]), keys[i], False) for i in np.argsort(gap)[:6]]
        apart = [
            (float(moved[i]), keys[i], True) for i in np.argsort(moved)[:2] if gap[i] > moved[i] and moved[i] < 1e-5
        ]
        return sorted(direct + apart)
