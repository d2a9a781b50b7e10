"""Sequences: padding on another side, with another value or to another length; a shift by some places."""

from __future__ import annotations

import numpy as np

from parity.data.difference import How, agree

_SHIFTS = 4
"""Places by which sequences are tried to be shifted."""


def shifted(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """The same sequences from another place on, or backwards; [N, T, ...]."""
    if reference.ndim < 2 or candidate.ndim != reference.ndim or reference.shape[2:] != candidate.shape[2:]:
        return None
    if reference.shape[0] != candidate.shape[0] or min(reference.shape[1], candidate.shape[1]) < 4:
        return None
    if reference.ndim > 3:
        return None
    if reference.shape == candidate.shape and agree(reference[:, ::-1], candidate):
        return [How("sequence-order", "sequences run backwards", 1.0)]
    for step in range(1, _SHIFTS + 1):
        for ahead in (True, False):
            a, b = (reference[:, step:], candidate) if ahead else (reference, candidate[:, step:])
            length = min(a.shape[1], b.shape[1])
            if length >= 3 and not _constant(a[:, :length]) and agree(a[:, :length], b[:, :length]):
                where = "later" if ahead else "earlier"
                text = f"sequences start {step} place{'s' * (step > 1)} {where} than the reference's"
                if reference.shape != candidate.shape:
                    text += f", {candidate.shape[1]} long instead of {reference.shape[1]}"
                return [How("sequence-shift", text, 1.0, (0, step if ahead else -step))]
    return None


def padded(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Padding: another value, another side, another length, or sequences that are cut; [N, T] or [N, T, F]."""
    if reference.ndim not in (2, 3) or candidate.ndim != reference.ndim or len(reference) != len(candidate):
        return None
    if reference.shape[2:] != candidate.shape[2:]:
        return None
    value = _other_value(reference, candidate)
    if value is not None:
        return value
    mine, theirs = _pad(reference), _pad(candidate)
    if mine is None and theirs is None:
        return _cut(reference, candidate)
    known = [pad for pad in (mine, theirs) if pad is not None]
    r_pad, r_side = mine or (known[0][0], "")
    c_pad, c_side = theirs or (known[0][0], "")
    rows = [(_stripped(r, r_pad), _stripped(c, c_pad)) for r, c in zip(reference, candidate, strict=True)]
    if not all(agree(r, c) for r, c in rows) or not any(len(r) for r, _ in rows):
        ends = _ends(rows) if (r_pad, r_side) == (c_pad, c_side) else None
        return _cut(reference, candidate) if ends is None else ends
    found = []
    if r_side and c_side and r_side != c_side:
        text = f"padding is on the {c_side} where the reference has it on the {r_side}"
        found.append(How("padding-side", text, 1.0, (r_side, c_side)))
    if mine and theirs and r_pad != c_pad:
        text = f"padding is {c_pad:g} where the reference has {r_pad:g}"
        found.append(How("padding-value", text, 1.0, (r_pad, c_pad)))
    if reference.shape[1] != candidate.shape[1]:
        text = f"sequences are padded to {candidate.shape[1]} places where the reference has {reference.shape[1]}"
        found.append(How("padding-length", text, 0.0, (reference.shape[1], candidate.shape[1])))
    return found or None


def _ends(rows: list[tuple[np.ndarray, np.ndarray]]) -> list[How] | None:
    """The same sequences, of which one side fills more places with padding than the other."""
    more = np.array([len(c) - len(r) for r, c in rows])
    common = [(r[: min(len(r), len(c))], c[: min(len(r), len(c))]) for r, c in rows]
    if not all(agree(r, c) for r, c in common) or not any(len(r) for r, _ in common):
        return None
    if not (np.all(more >= 0) or np.all(more <= 0)):
        return None
    longer, most = ("longer", int(more.max())) if more.max() > 0 else ("shorter", int(-more.min()))
    text = f"before their padding, {np.count_nonzero(more)} of {len(rows)} sequences are up to {most} places {longer}"
    return [How("sequence-length", text, 1.0)]


def _other_value(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Where the sides differ, each has one value only, at the ends of the sequences."""
    if reference.shape != candidate.shape:
        return None
    differs = reference != candidate
    if not differs.any() or differs.all():
        return None
    mine, theirs = np.unique(reference[differs]), np.unique(candidate[differs])
    if len(mine) != 1 or len(theirs) != 1:
        return None
    places = differs if differs.ndim == 2 else differs.any(-1)
    if not (_at_end(places) or _at_end(places[:, ::-1])):
        return None
    r, c = float(mine[0]), float(theirs[0])
    return [How("padding-value", f"padding is {c:g} where the reference has {r:g}", 1.0, (r, c))]


def _at_end(places: np.ndarray) -> bool:
    """Whether the true places of each row, bool [N, T], are its last ones."""
    return bool((np.diff(places.astype(np.int8), axis=1) >= 0).all())


def _pad(rows: np.ndarray) -> tuple[float, str] | None:
    """The value that sequences end or begin with, and on which side; None where there is none."""
    if rows.shape[1] < 2:
        return None
    found: list[tuple[int, float, str]] = []
    for side, turned in (("right", rows), ("left", rows[:, ::-1])):
        last = turned[:, -1].reshape(len(rows), -1)
        values, counts = np.unique(last, return_counts=True)
        value = values[counts.argmax()]
        full = (turned == value) if turned.ndim == 2 else (turned == value).all(-1)
        runs = full[:, ::-1].argmin(1)
        runs = np.where(full.all(1), rows.shape[1], runs)
        if (runs >= 2).sum() >= 1 and len(np.unique(runs)) > 1:
            found.append((int(runs.sum()), float(value), side))
    return max(found)[1:] if found else None


def _stripped(row: np.ndarray, pad: float) -> np.ndarray:
    """A sequence [T, ...] without padding at its ends."""
    inside = np.flatnonzero((row != pad) if row.ndim == 1 else (row != pad).any(-1))
    return row[inside[0] : inside[-1] + 1] if inside.size else row[:0]


def _cut(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """One side has fewer places of the same sequences."""
    length = min(reference.shape[1], candidate.shape[1])
    if reference.shape[1] == candidate.shape[1] or length < 2:
        return None
    for end, name in ((slice(0, length), "beginning"), (slice(-length, None), "end")):
        if agree(reference[:, end], candidate[:, end]):
            lengths = reference.shape[1], candidate.shape[1]
            text = f"sequences have {lengths[1]} places where the reference has {lengths[0]}; the {name} agrees"
            return [How("sequence-length", text, 1.0, lengths)]
    return None


def _constant(values: np.ndarray) -> bool:
    return bool(values.size and (values == values.flat[0]).all())
