"""Which samples of one side are which of the other, and what kind of order leads from one to the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.data.difference import RTOL

_CANDIDATES = 64
"""Samples with nearly the same key that are looked at for one match."""


class Match(NamedTuple):
    """For each of the candidate's samples the reference's sample that it equals, or -1; each is taken once."""

    places: np.ndarray

    @property
    def fraction(self) -> float:
        """Part of the candidate's samples that has a counterpart."""
        return float((self.places >= 0).mean()) if self.places.size else 0.0


def match_samples(reference: np.ndarray, candidate: np.ndarray) -> Match:
    """Pairs samples by their sketches.

    Args:
        reference: float64 [N, K], one row of marks for each sample.
        candidate: The same of the candidate, [M, K].
    """
    index = np.full(len(candidate), -1)
    if not len(reference) or not len(candidate) or reference.shape[1] != candidate.shape[1]:
        return Match(index)
    spread = np.maximum(reference.std(0), 1e-12)
    scale = np.maximum(spread, 1e-3 * np.abs(reference).max(0) + 1e-12)
    r, c = reference / scale, candidate / scale
    distinct = [len(np.unique(np.round(column, 6))) for column in r.T]
    key = int(np.argmax(distinct))
    order = np.argsort(r[:, key], kind="stable")
    keys = r[order, key]
    low = np.searchsorted(keys, c[:, key] - RTOL)
    high = np.searchsorted(keys, c[:, key] + RTOL, side="right")
    taken = np.zeros(len(r), bool)
    for row, (a, b) in enumerate(zip(low, high, strict=True)):
        near = order[a:b]
        near = near[~taken[near]][:_CANDIDATES] if b - a > _CANDIDATES else near[~taken[near]]
        if not near.size:
            continue
        far = np.abs(r[near] - c[row]).max(1)
        good = near[far <= 10 * RTOL]
        if good.size:
            best = good.min()
            index[row] = best
            taken[best] = True
    return Match(index)


def name_order(index: np.ndarray) -> str | None:
    """What an order of samples looks like.

    Args:
        index: For each of the candidate's samples, its place in the reference's order.

    Returns:
        None where nothing but chance explains it, `""` for the same order, else a description.
    """
    n = len(index)
    step = np.diff(index)
    if not n or (step == 1).all():
        return "" if not n or index[0] == 0 else f"the same order, {int(index[0])} samples later"
    if (step == -1).all():
        return "the opposite order"
    if n < 6:
        return None
    jumps = np.flatnonzero(step != 1)
    if len(jumps) == 1 and set(index.tolist()) == set(range(int(index.min()), int(index.min()) + n)):
        return f"the same order, begun {int(index[0])} samples later and continued at the start"
    values, counts = np.unique(step, return_counts=True)
    stride = int(values[counts.argmax()])
    if counts.max() >= 0.7 * len(step) and stride != 1:
        return f"every {abs(stride)}th sample in turn, as several workers or shards take them"
    if len(jumps) <= n // 8 and counts.max() >= 0.85 * len(step):
        return f"whole blocks of samples in another order ({len(jumps) + 1} blocks)"
    return None
