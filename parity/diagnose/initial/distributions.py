"""Whether two samples come from one distribution, and what a sample looks like.

Kolmogorov-Smirnov sees another shape, the variance test another scale, Welch's test another mean; all three work for
values that are drawn independently (methods: measured by `benchmarks/initializers.py`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Sample(NamedTuple):
    """Independent values of one distribution, without exact zeros that were written in afterwards.

    Attributes:
        values: float64 [n], sorted.
        zeros: Fraction of exact zeros that were left out.
        total: Number of values with them.
        mean: Their mean.
        std: Their standard deviation.
        kurtosis: Fourth central moment over the squared variance; 3 for a normal, 1.8 for a uniform distribution.
    """

    values: np.ndarray
    zeros: float
    total: int
    mean: float
    std: float
    kurtosis: float

    @property
    def size(self) -> int:
        """Number of values."""
        return int(self.values.size)

    @property
    def low(self) -> float:
        """The smallest value."""
        return float(self.values[0])

    @property
    def high(self) -> float:
        """The largest value."""
        return float(self.values[-1])


def sample_of(values: np.ndarray) -> Sample:
    """Sorts values and takes their moments.

    Args:
        values: Any shape, finite, at least two elements.
    """
    flat = np.sort(np.asarray(values, np.float64).reshape(-1))
    total = flat.size
    other = flat[flat != 0]
    zeros = 1 - other.size / total
    flat = other if other.size > 1 and zeros < 0.9 else flat
    mean = float(flat.mean())
    centred = flat - mean
    variance = float(np.mean(centred**2))
    fourth = float(np.mean(centred**4))
    kurtosis = fourth / variance**2 if variance > 0 else 3.0
    return Sample(flat, zeros, total, mean, math.sqrt(variance), kurtosis)


def ks_p(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The two-sample Kolmogorov-Smirnov test.

    Args:
        a: float64 [n], sorted.
        b: float64 [m], sorted.

    Returns:
        The greatest distance of the two distribution functions, and its p-value (Kolmogorov's series with Stephens'
        correction, 1970; on the safe side for small samples and for ties).
    """
    points = np.concatenate([a, b])
    distance = float(
        np.max(np.abs(np.searchsorted(a, points, "right") / a.size - np.searchsorted(b, points, "right") / b.size))
    )
    root = math.sqrt(a.size * b.size / (a.size + b.size))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return distance, 1.0
    series = sum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return distance, min(1.0, max(0.0, 2 * series))


def variance_p(a: Sample, b: Sample) -> float:
    """The p-value of equal variances, with degrees of freedom that fit the samples' kurtosis (Box, 1953).

    The tail of F is taken from the cube roots' normal approximation (Wilson and Hilferty; Paulson, 1942).
    """
    if a.std <= 0 or b.std <= 0:
        return 0.0 if a.std != b.std else 1.0
    kurtosis = (a.kurtosis * a.size + b.kurtosis * b.size) / (a.size + b.size)
    few = min(a.size, b.size)
    if few < 600:
        kurtosis = max(kurtosis, 3.0) * (1 + 20 / few)
    big, small = (a, b) if a.std >= b.std else (b, a)
    above, below = (max(1.0, 2 * (s.size - 1) / max(kurtosis - 1, 0.5)) for s in (big, small))
    root = (big.std / small.std) ** (2 / 3)
    z = ((1 - 2 / (9 * below)) * root - (1 - 2 / (9 * above))) / math.sqrt(
        2 / (9 * below) * root**2 + 2 / (9 * above)
    )  # fmt: skip
    return math.erfc(max(z, 0.0) / math.sqrt(2))


def mean_p(a: Sample, b: Sample) -> float:
    """Welch's test of equal means (1947); the tail of t by Wallace's normal approximation (1959)."""
    parts = a.std**2 / max(1, a.size - 1), b.std**2 / max(1, b.size - 1)
    error = sum(parts)
    if error <= 0:
        return 0.0 if a.mean != b.mean else 1.0
    t = (a.mean - b.mean) / math.sqrt(error)
    freedom = error**2 / sum(p**2 / max(1, s.size - 1) for p, s in zip(parts, (a, b), strict=True))
    z = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return math.erfc(z / math.sqrt(2))


class Difference(NamedTuple):
    """How two samples differ.

    Attributes:
        p: The smallest of the three p-values, for three tests.
        what: `scale`, `mean`, `shape` or `zeros`: the greatest difference that matters; empty where none does.
        text: That difference in words.
    """

    p: float
    what: str
    text: str


_SCALE = 0.05
"""Relative difference of scale, and of a mean in units of the scale, that matters."""

_SHAPE = 0.015
"""Distance of two distribution functions of equal mean and scale that matters: 0.017 is a normal distribution cut at
twice its scale against a whole one, 0.057 a uniform one."""


def difference(a: Sample, b: Sample) -> Difference:
    """Tests whether the candidate's sample `b` follows the distribution of the reference's `a`."""
    _, shape = ks_p(a.values, b.values)
    p = min(1.0, 3 * min(shape, variance_p(a, b), mean_p(a, b)))
    zeros = a.zeros - b.zeros
    if abs(zeros) > 0.01:
        pooled = (a.zeros * a.total + b.zeros * b.total) / (a.total + b.total)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / a.total + 1 / b.total))
        chance = math.erfc(abs(zeros) / spread / math.sqrt(2)) if spread > 0 else 1.0
        if chance < p:
            return Difference(chance, "zeros", f"{a.zeros:.0%} of the values are zero against {b.zeros:.0%}")
    ratio = b.std / a.std if a.std > 0 else math.inf
    if abs(math.log(ratio)) > math.log1p(_SCALE) if 0 < ratio < math.inf else True:
        return Difference(p, "scale", f"std {a.std:.3g} against {b.std:.3g}, {_times(ratio)}")
    unit = max(a.std, b.std)
    if abs(a.mean - b.mean) > _SCALE * unit:
        return Difference(p, "mean", f"mean {a.mean:.3g} against {b.mean:.3g} at a std of {a.std:.3g}")
    distance, chance = ks_p((a.values - a.mean) / a.std, (b.values - b.mean) / b.std)
    if distance > _SHAPE and {kind(a)[0], kind(b)[0]} != {""} and kind(a)[0] != kind(b)[0]:
        return Difference(3 * chance, "shape", f"the same scale, another kind of distribution ({distance:.3f} apart)")
    return Difference(p, "", "")


def holm(probabilities: list[float], level: float) -> list[bool]:
    """Which hypotheses are refuted at a family-wise level (Holm, 1979), in the order given."""
    refuted = [False] * len(probabilities)
    for rank, index in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        if probabilities[index] * (len(probabilities) - rank) >= level:
            break
        refuted[index] = True
    return refuted


def _times(ratio: float) -> str:
    if not 0 < ratio < math.inf:
        return "another kind"
    return f"{ratio:.3g} times the reference's"


def seen(a: Sample, b: Sample, level: float) -> float:
    """The relative difference of scale that these samples' sizes would have shown at a level.

    Args:
        a: The reference's sample.
        b: The candidate's sample.
        level: The level of significance of one test.
    """
    kurtosis = (a.kurtosis * a.size + b.kurtosis * b.size) / (a.size + b.size)
    z = math.sqrt(max(0.0, -2 * math.log(level)))
    return math.expm1(z * math.sqrt(max(kurtosis - 1, 0.5) / 4 * (1 / a.size + 1 / b.size)))


def kind(sample: Sample) -> tuple[str, tuple[float, ...]]:
    """What a sample looks like.

    Returns:
        `normal` with mean and std, `uniform` with its bounds, `truncated` with mean, the untruncated std and the cut
        in units of it, all to three digits, or an empty word where it is none of these or too small to tell.
    """
    mean, std, n = sample.mean, sample.std, sample.size
    if n < 200 or std <= 0:
        return "", ()
    if abs(mean) < 5 * std / math.sqrt(n):
        mean = 0.0
    reach = max(sample.high - sample.mean, sample.mean - sample.low) / std
    noise = 6 * math.sqrt(24 / n)
    if abs(sample.kurtosis - 1.8) < 0.05 + noise / 4 and reach < 1.80:
        low, high = sample.low, sample.high
        if mean == 0:
            high = max(-low, high)
            low = -high
        return "uniform", (_digits(low), _digits(high))
    if sample.kurtosis < 3 - noise and reach < 3.3:
        for cut in (1.0, 1.5, 2.0, 2.5, 3.0):
            density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
            inside = math.erf(cut / math.sqrt(2))
            shrunk = math.sqrt(1 - 2 * cut * density / inside)
            if abs(reach * shrunk / cut - 1) < 0.03:
                return "truncated", (_digits(mean), _digits(std / shrunk), cut)
    if abs(sample.kurtosis - 3) < 0.05 + noise:
        return "normal", (_digits(mean), _digits(std))
    return "", ()


def _digits(number: float) -> float:
    return float(f"{number:.3g}")
