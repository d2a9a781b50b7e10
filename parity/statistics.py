"""The few numbers that are kept of every tensor: least, greatest, mean, root mean square, what is not finite."""

from __future__ import annotations

import math

import numpy as np

from parity.model import TensorEvent, TensorRef

_BLOCK = 2**17
"""Elements that are looked at together: all passes but the first find them in the processor's cache."""

_ROW = 512
_ONES = {np.dtype(kind): np.ones(_ROW, kind) for kind in (np.float32, np.float64)}


def widen(array: np.ndarray, dtype: str) -> np.ndarray:
    """A stored array as NumPy can compute with it: bfloat16 bits (uint16) become float32."""
    if dtype != "bfloat16":
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def statistics(ref: TensorRef, array: np.ndarray) -> TensorEvent:
    """The statistics of a tensor's finite elements.

    Args:
        ref: The tensor; bfloat16 comes as its bits in uint16.
        array: Its values, any shape.
    """
    if array.size == 0 or array.dtype.kind not in "fiub":
        return TensorEvent(ref)
    if array.dtype.kind != "f" and ref.dtype != "bfloat16":
        wide = array.astype(np.float64) if array.dtype.kind == "b" else array
        return TensorEvent(ref, float(wide.min()), float(wide.max()), float(wide.mean()))
    flat = np.ascontiguousarray(array).reshape(-1)
    with np.errstate(all="ignore"):
        low, high, mean, square = _moments(flat, ref.dtype)
        nonfinite = 0
        if not (math.isfinite(low) and math.isfinite(high)):
            wide = _wide(flat, ref.dtype)
            finite = wide[np.isfinite(wide)]
            nonfinite = int(wide.size - finite.size)
            if finite.size == 0:
                return TensorEvent(ref, nonfinite=nonfinite)
            low, high, mean, square = _moments(finite, finite.dtype.name)
    rms = math.sqrt(square) if high - low < 1e18 else None
    return TensorEvent(ref, low, high, mean, rms, nonfinite)


def _wide(flat: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 or float64 of the same values."""
    wide = widen(flat, dtype)
    return wide if wide.dtype in _ONES else wide.astype(np.float32 if wide.itemsize < 4 else np.float64)


def _moments(flat: np.ndarray, dtype: str) -> tuple[float, float, float, float]:
    """Least and greatest element, mean, and mean square; what is not finite shows in the first two."""
    lows, highs, total, square = [], [], 0.0, 0.0
    for start in range(0, flat.size, _BLOCK):
        block = _wide(flat[start : start + _BLOCK], dtype)
        lows.append(block.min())
        highs.append(block.max())
        whole = block.size - block.size % _ROW
        if whole:
            total += float((block[:whole].reshape(-1, _ROW) @ _ONES[block.dtype]).sum(dtype=np.float64))
        if whole < block.size:
            total += float(block[whole:].sum(dtype=np.float64))
        square += float(np.dot(block, block))
    low, high = (lows[0], highs[0]) if len(lows) == 1 else (np.min(lows), np.max(highs))
    return float(low), float(high), total / flat.size, square / flat.size
