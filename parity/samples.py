"""What a single sample of a batch is known by: a digest of its bytes, and a sketch that rounding hardly moves."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np

DIGITS = 16
"""Hexadecimal digits of a sample's digest."""


@lru_cache(maxsize=16)
def _weights(size: int) -> np.ndarray:
    return np.random.default_rng(size).standard_normal((size, 2)) / math.sqrt(size)


def sketch(values: np.ndarray) -> np.ndarray:
    """Six numbers for each sample of [N, ...], float64 [N, 6]: mean, deviation, minimum, maximum, two projections."""
    rows = values.reshape(values.shape[0], math.prod(values.shape[1:])).astype(np.float64)
    if not rows.size:
        return np.zeros((rows.shape[0], 6))
    rows = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0)
    marks = [rows.mean(1), rows.std(1), rows.min(1), rows.max(1)]
    return np.concatenate([np.stack(marks, 1), rows @ _weights(rows.shape[1])], 1)


def digests(values: np.ndarray) -> str:
    """The BLAKE2b digests of the bytes of each sample of [N, ...], 16 hexadecimal digits each, in one text."""
    rows = np.ascontiguousarray(values).reshape(values.shape[0], math.prod(values.shape[1:]))
    return "".join(hashlib.blake2b(row.tobytes(), digest_size=DIGITS // 2).hexdigest() for row in rows)
