"""One pair of loaders: are their samples the same, in the same order, and if not, how do they differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.data.difference import How
from parity.data.how import explain
from parity.data.images import rearranged
from parity.data.order import Match, match_samples, name_order
from parity.diagnose.loading.loaders import LOOKED_AT, Loader, pair_columns
from parity.model import TensorRef
from parity.samples import DIGITS, digests

_LIKE = 0.999
"""Correlation of two samples that are the same but for layout, scale and shift."""

_ROWS = 48
"""Samples of the candidate that are searched in the reference."""

_POOL = 2048
"""Samples of the reference among which they are searched."""

_RANDOM = ("Random", "AutoAugment", "RandAugment", "TrivialAugment", "Cutout", "CutOut", "MixUp", "CutMix", "Uniform")


class ColumnResult(NamedTuple):
    """What became of one column: its name, and how it differs."""

    name: str
    hows: list[How]


class Judged(NamedTuple):
    """One pair of loaders.

    Attributes:
        compared: Batches held against each other.
        equal: Whether all of them agree.
        columns: How each column differs, once the order is set aside.
        order: What leads from the reference's order to the candidate's: `""` the same, None another at random,
            or a description; `unknown` where no sample of the candidate was found among the reference's.
        found: Part of the candidate's samples that was found in the reference.
        batch_sizes: Where they differ.
    """

    compared: int
    equal: bool
    columns: list[ColumnResult]
    order: str | None
    found: float
    batch_sizes: tuple[int, int] | None


def judge_pair(mine: Loader, theirs: Loader) -> Judged:
    """Compares the batches of the captured steps, and where those differ without a rule, the samples of an epoch."""
    places = pair_columns(mine.columns, theirs.columns)
    names = [theirs.columns[b].name for _, b in places]
    stacked = [(_stack(mine, a), _stack(theirs, b)) for a, b in places]
    compared = min(len(mine.used), len(theirs.used))
    sizes = batch_sizes(mine, theirs)
    columns = []
    for name, (r, c) in zip(names, stacked, strict=True):
        columns.append(ColumnResult(name, _explained(r, c)))
    result = Judged(compared, not any(c.hows for c in columns), columns, "", 1.0, sizes)
    if not any(how.kind == "unrelated" for c in columns for how in c.hows):
        return result
    return _reordered(mine, theirs, places, names, result)


def batch_sizes(mine: Loader, theirs: Loader) -> tuple[int, int] | None:
    """How many samples the first batches of both sides have, where that differs."""
    first = [s.columns[0].ref.shape[:1] if s.columns else () for s in (mine, theirs)]
    return (first[0][0], first[1][0]) if first[0] and first[1] and first[0] != first[1] else None


def _stack(loader: Loader, index: int) -> list[np.ndarray]:
    """The captured batches of one column, [N, ...] each; of a loader that gave none, those read afterwards."""
    if not loader.used:
        return [a if a.ndim else a.reshape(1) for a in loader.whole(index)]
    found: list[np.ndarray] = []
    for batch in loader.used:
        if index < len(batch.items) and sum(a.size for a in found) < LOOKED_AT:
            values = loader.trace.array(batch.items[index].ref)
            found.append(values if values.ndim else values.reshape(1))
    return found


def _explained(reference: list[np.ndarray], candidate: list[np.ndarray]) -> list[How]:
    """How captured batches differ, all together where they have one shape, else the first pair that does."""
    if not reference or not candidate:
        return []
    if len({a.shape[1:] for a in reference}) == len({a.shape[1:] for a in candidate}) == 1:
        r, c = np.concatenate(reference), np.concatenate(candidate)
        rows = min(len(r), len(c))
        return explain(r[:rows], c[:rows])
    for r, c in zip(reference, candidate, strict=False):
        rows = min(len(r), len(c))
        hows = explain(r[:rows], c[:rows])
        if hows:
            return hows
    return []


def _reordered(mine: Loader, theirs: Loader, places: list[tuple[int, int]], names: list[str], before: Judged) -> Judged:
    """The same after the candidate's samples have been found among the reference's."""
    match = _by_sketch(mine, theirs, places)
    if match is None:
        match = _by_likeness(mine, theirs, places)
    if match is None:
        return before._replace(order="unknown", found=0.0)
    columns = []
    for name, (a, b) in zip(names, places, strict=True):
        r, c = _kept(mine, a), _kept(theirs, b)
        rows = [(i, j) for j, i in enumerate(match.places[: len(c)].tolist()) if 0 <= i < len(r)]
        left = [i for i, _ in rows]
        hows = explain(r[left], c[[j for _, j in rows]]) if rows else []
        columns.append(ColumnResult(name, hows))
    known = match.places[match.places >= 0]
    return before._replace(columns=columns, order=name_order(known), found=match.fraction)


def _kept(loader: Loader, index: int) -> np.ndarray:
    """The kept samples of one column of the epoch read afterwards; none where their shapes vary."""
    batches = [a if a.ndim else a.reshape(1) for a in loader.whole(index)]
    if not batches or len({a.shape[1:] for a in batches}) > 1:
        return np.zeros((0,))
    return np.concatenate(batches)


def _by_sketch(mine: Loader, theirs: Loader, places: list[tuple[int, int]]) -> Match | None:
    """By all columns together, else by one that tells samples apart."""
    tables = [(mine.sketches(a), theirs.sketches(b)) for a, b in places]
    tables = [(r, c) for r, c in tables if len(r) and len(c)]
    if not tables or len({len(r) for r, _ in tables}) > 1 or len({len(c) for _, c in tables}) > 1:
        return None
    together = (np.concatenate([r for r, _ in tables], 1), np.concatenate([c for _, c in tables], 1))
    telling = [t for t in tables if len(np.unique(np.round(t[0], 6), axis=0)) > 0.5 * len(t[0])]
    for r, c in (together, *telling):
        match = match_samples(r, c)
        if _enough(match, mine, theirs):
            return match
    return None


def _enough(match: Match, mine: Loader, theirs: Loader) -> bool:
    """Whether so many samples were found that it is no coincidence."""
    found = int((match.places >= 0).sum())
    if mine.complete and theirs.complete:
        return match.fraction > 0.3
    return found >= max(8, 0.02 * len(match.places))


def _by_likeness(mine: Loader, theirs: Loader, places: list[tuple[int, int]]) -> Match | None:
    """Samples that are another arrangement or scaling of the reference's, by correlation."""
    for a, b in places:
        r, c = _kept(mine, a)[:_POOL], _kept(theirs, b)[:_ROWS]
        if r.ndim < 2 or c.ndim < 2 or r[0].size != c[0].size or r[0].size < 8:
            continue
        arrangements = [("", "", r), *rearranged(r)]
        for _, _, arranged in arrangements:
            if arranged.shape[1:] != c.shape[1:]:
                continue
            for axis in dict.fromkeys((1, c.ndim - 1)) if c.ndim > 2 else (None,):
                likeness = _standard(c, axis) @ _standard(arranged, axis).T
                best = likeness.argmax(1)
                here = np.arange(min(likeness.shape))
                best[here] = np.where(likeness[here, here] > _LIKE, here, best[here])
                good = likeness[np.arange(len(c)), best] > _LIKE
                if good.sum() >= min(len(c), 3) and (good.mean() > 0.8 or not (mine.complete and theirs.complete)):
                    return Match(np.where(good, best, -1))
    return None


def _standard(values: np.ndarray, axis: int | None) -> np.ndarray:
    """Samples as rows of unit length, each channel of each without its mean and scale."""
    rows = values.astype(np.float64)
    over = tuple(i for i in range(1, rows.ndim) if i != axis)
    rows = rows - rows.mean(over, keepdims=True)
    rows = rows / np.maximum(rows.std(over, keepdims=True), 1e-12)
    rows = rows.reshape(len(rows), -1)
    length: np.ndarray = np.sqrt((rows * rows).sum(1, keepdims=True))
    unit: np.ndarray = rows / np.maximum(length, 1e-12)
    return unit


def draws(loader: Loader) -> bool | None:
    """Whether samples come out differently each time (augmentation); None where it cannot be told."""
    if any(op.name.rpartition(".")[2].startswith(_RANDOM) for op in loader.event.pipeline if "columns" in op.arguments):
        return True  # MindSpore draws the same for each new iterator
    if not loader.read or not loader.used:
        return None
    known = set(loader.digests())
    seen = []
    for batch in loader.used:
        texts = [digests(_rows(loader, i.ref)) for i in batch.items]
        count = min((len(t) // DIGITS for t in texts), default=0)
        seen += ["".join(t[DIGITS * i : DIGITS * i + DIGITS] for t in texts) for i in range(count)]
    if not seen:
        return None
    part = sum(s in known for s in seen) / len(seen)
    if part > 0.9:
        return False
    return True if loader.complete and part < 0.5 else None


def _rows(loader: Loader, ref: TensorRef) -> np.ndarray:
    values = loader.trace.array(ref)
    return values if values.ndim else values.reshape(1)
