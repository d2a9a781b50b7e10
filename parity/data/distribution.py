"""Whether two samples of values can come from one distribution, where they cannot be compared one by one."""

from __future__ import annotations

import math

import numpy as np

LEVEL = 1e-6
"""Probability of a false alarm, for all tests of a column together."""

EFFECT = 0.05
"""Smallest relative difference that is called one."""

_VALUES = 200_000
"""Values that are taken from each side."""


def ks_probability(reference: np.ndarray, candidate: np.ndarray) -> tuple[float, float]:
    """Distance of two empirical distributions and the probability of a larger one (Kolmogorov 1933, asymptotic)."""
    a, b = (np.sort(v.reshape(-1).astype(np.float64)) for v in (reference, candidate))
    both = np.concatenate([a, b])
    gap = np.abs(np.searchsorted(a, both, side="right") / len(a) - np.searchsorted(b, both, side="right") / len(b))
    distance = float(gap.max())
    size = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    x = (size + 0.12 + 0.11 / size) * distance
    terms = [(-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101)] if x > 0.2 else [0.5]
    return distance, min(1.0, max(0.0, 2 * sum(terms)))


def differ(reference: np.ndarray, candidate: np.ndarray, tests: int = 1) -> str | None:
    """What clearly differs between two columns [N, ...] whose samples are not the same; None where nothing does.

    Values within a sample depend on each other, so the tests take one number of each sample (its mean and its
    spread) as long as there are enough samples, and the values themselves only for effects that are large.

    Args:
        reference: Any numeric type.
        candidate: Any numeric type.
        tests: How many columns are tested at all.
    """
    r, c = (a.astype(np.float64) for a in (reference, candidate))
    if not r.size or not c.size:
        return None
    level = LEVEL / max(tests, 1) / 3
    if r.ndim == 1:
        distance, chance = ks_probability(r, c)
        return _values(r, c) if chance < level and distance > EFFECT else None
    rows = [a.reshape(len(a), -1) for a in (r, c)]
    marks = [(a.mean(1), a.std(1)) for a in rows]
    spread = float(rows[0].std()) or 1.0
    if min(len(a) for a in rows) >= 8:
        for number, name in enumerate(("mean", "spread")):
            mine, theirs = marks[0][number], marks[1][number]
            _, chance = ks_probability(mine, theirs)
            gap = abs(float(np.median(mine)) - float(np.median(theirs)))
            if chance < level and gap > EFFECT * spread:
                medians = float(np.median(theirs)), float(np.median(mine))
                return f"the {name} of a sample is {medians[0]:.4g} where the reference has {medians[1]:.4g}"
    return None


def histogram(reference: dict[int, int], candidate: dict[int, int], tests: int = 1) -> str | None:
    """What clearly differs between two counts of classes; a chi-squared test by Wilson and Hilferty (1931)."""
    keys = sorted(set(reference) | set(candidate))
    r, c = (np.array([d.get(k, 0) for k in keys], np.float64) for d in (reference, candidate))
    if len(keys) < 2 or not r.sum() or not c.sum():
        return None
    parts = [r / r.sum(), c / c.sum()]
    total = (r + c) / (r.sum() + c.sum())
    usual = total * min(r.sum(), c.sum()) >= 5
    if usual.sum() < 2:
        return None
    chi = sum(float(((n - n.sum() * total) ** 2 / (n.sum() * total))[usual].sum()) for n in (r, c))
    freedom = int(usual.sum()) - 1
    z = ((chi / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    chance = 0.5 * math.erfc(z / math.sqrt(2))
    gap = float(np.abs(parts[0] - parts[1]).max())
    if chance >= LEVEL / max(tests, 1) or gap <= EFFECT:
        return None
    worst = int(np.abs(parts[0] - parts[1]).argmax())
    shares = f"{parts[1][worst]:.0%} of the samples where it makes {parts[0][worst]:.0%} of the reference's"
    return f"class {keys[worst]} makes {shares}"


def _values(r: np.ndarray, c: np.ndarray) -> str:
    return (
        f"mean {c.mean():.4g} and spread {c.std():.4g} where the reference has {r.mean():.4g} and {r.std():.4g} "
        f"(range {c.min():.4g}..{c.max():.4g} against {r.min():.4g}..{r.max():.4g})"
    )
