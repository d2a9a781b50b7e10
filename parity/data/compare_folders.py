"""`parity data`: two folders of arrays, array by array, and how those differ that differ."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parity.data.difference import How, agree, distance
from parity.data.folders import Folder, pair_names, series
from parity.data.how import explain
from parity.data.order import match_samples, name_order
from parity.document import Cause, Comparison, Finding, Place, Side, Stage, Unaligned
from parity.samples import sketch

_NUMERIC = "fiub"
_ROWS = 2**22
"""Elements that are read at a time."""

_STACKED = 2**24
"""Elements of a series that are searched for samples in another order."""


class Tolerance(NamedTuple):
    """The rule of `numpy.allclose`, in place of what rounding explains."""

    rtol: float
    atol: float


def compare_folders(reference: Path, candidate: Path, tolerance: Tolerance | None = None) -> Comparison:
    """Compares two folders of `.npy` and `.npz` files.

    Args:
        reference: The folder that is right.
        candidate: The one to be judged.
        tolerance: Judge by allclose; None for what rounding in float32 explains.

    Raises:
        UsageError: One of them is no folder.
        ArrayError: A file cannot be read, or holds objects.
    """
    mine, theirs = Folder(reference, "reference"), Folder(candidate, "candidate")
    pairs = pair_names(mine.names, theirs.names)
    missing = [a for a, b in pairs if a is not None and b is None]
    extra = [b for a, b in pairs if b is not None and a is None]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    findings = [_lacking(name, mine, theirs, True) for name in missing]
    findings += [_lacking(name, theirs, mine, False) for name in extra]
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for a, b in both:
        groups[series(a)].append((a, b))
    for group in groups.values():
        findings += _Series(mine, theirs, group, tolerance).findings()
    return _document(findings, mine, theirs, len(both), len(pairs), Unaligned(missing, extra))


class _Series:
    """The batches of one column."""

    def __init__(self, mine: Folder, theirs: Folder, names: list[tuple[str, str]], tolerance: Tolerance | None) -> None:
        self.mine = mine
        self.theirs = theirs
        self.names = names
        self.tolerance = tolerance

    def findings(self) -> list[Finding]:
        """What differs in it, one finding for each way."""
        differing = []
        widths: list[tuple[str, str]] = []
        spoiled: list[tuple[str, int]] = []
        for a, b in self.names:
            r, c = self.mine.array(a), self.theirs.array(b)
            if r.shape != c.shape or not same(r, c, self.tolerance):
                differing.append((a, b))
            elif r.dtype != c.dtype:
                widths.append((a, b))
            if c.dtype.kind == "f" and (bad := int(c.size - np.isfinite(c).sum())):
                spoiled.append((b, bad))
        found = self._how(differing) if differing else []
        if widths and not any(f.kind == "dtype" for f in found):
            found.append(self._width(widths))
        if spoiled and not any(f.kind == "missing-values" for f in found):
            found.append(self._spoiled(spoiled))
        return found

    def _how(self, differing: list[tuple[str, str]]) -> list[Finding]:
        ways = self._reordered() if len(differing) > len(self.names) // 2 or len(differing) > 1 else None
        if ways is None:
            ways = self._explained(differing)
        a, b = differing[0]
        r, c = self.mine.array(a), self.theirs.array(b)
        error = distance(r, c) if r.shape == c.shape and r.dtype.kind in _NUMERIC and c.dtype.kind in _NUMERIC else None
        found = []
        for how in ways:
            text = f"{b}: {how.text}"
            if len(self.names) > 1:
                text += f" ({len(differing)} of {len(self.names)} arrays of this kind differ)"
            made = _finding(
                how.kind, "fault", text, self._place(self.mine, a, how, 0), self._place(self.theirs, b, how, 1)
            )
            made.error = error
            made.cause = Cause(how.text, 0.8 if how.kind != "unrelated" else 0.3)
            found.append(made)
        return found

    def _place(self, folder: Folder, name: str, how: How, side: int) -> Place:
        return Place(name, value=how.value[side] if how.value is not None else None)

    def _explained(self, differing: list[tuple[str, str]]) -> list[How]:
        """How the differing arrays differ, by as many of them as fit together."""
        left: list[np.ndarray] = []
        right: list[np.ndarray] = []
        size = 0
        for a, b in differing:
            r, c = self.mine.array(a), self.theirs.array(b)
            if r.dtype.kind not in _NUMERIC or c.dtype.kind not in _NUMERIC:
                return [
                    How("unrelated", f"{c.dtype} {list(c.shape)} where the reference has {r.dtype} {list(r.shape)}", 1)
                ]
            if (
                not r.ndim
                or not c.ndim
                or (left and (r.shape[1:], c.shape[1:]) != (left[0].shape[1:], right[0].shape[1:]))
            ):
                break
            if len(r) != len(c):
                text = f"{len(c)} samples where the reference has {len(r)}"
                return [How("batch-size", text, 1.0, (len(r), len(c)))]
            left.append(r)
            right.append(c)
            size += r.size
            if size > _STACKED:
                break
        if not left:
            a, b = differing[0]
            r, c = self.mine.array(a), self.theirs.array(b)
            if r.shape != c.shape:
                return [How("shape", f"shape {list(c.shape)} where the reference has {list(r.shape)}", 1.0)]
            return [How("unrelated", f"{c} where the reference has {r}", 1.0, (float(r), float(c)))]
        r, c = np.concatenate(left), np.concatenate(right)
        return explain(r, c) or [How("rounding", _furthest(r, c), distance(r, c))]

    def _reordered(self) -> list[How] | None:
        """Whether the samples of the whole series are the same in another order."""
        sides = []
        for folder, number in ((self.mine, 0), (self.theirs, 1)):
            arrays = [folder.array(pair[number]) for pair in self.names]
            if any(a.ndim < 1 or a.dtype.kind not in _NUMERIC or a.shape[1:] != arrays[0].shape[1:] for a in arrays):
                return None
            if sum(a.size for a in arrays) > _STACKED:
                return None
            sides.append(np.concatenate(arrays))
        r, c = sides
        if r.shape != c.shape or len(r) < 4 or len(np.unique(r.reshape(len(r), -1), axis=0)) < len(r) // 2:
            return None
        match = match_samples(sketch(r), sketch(c))
        if match.fraction < 1:
            return None
        if not agree(r[match.places], c):
            return None
        order = name_order(match.places)
        what = order or "an order that only chance explains: a shuffle"
        return [How("order", f"the same samples in another order: {what}", 1.0)]

    def _width(self, widths: list[tuple[str, str]]) -> Finding:
        a, b = widths[0]
        r, c = self.mine.array(a).dtype, self.theirs.array(b).dtype
        whole = r.kind in "iu" and c.kind in "iu"
        text = f"{b}: {c.name} where the reference has {r.name}; the values agree"
        return _finding("dtype", "warning" if whole else "fault", text, Place(a, value=r.name), Place(b, value=c.name))

    def _spoiled(self, spoiled: list[tuple[str, int]]) -> Finding:
        name, count = spoiled[0]
        text = f"{name}: {count} NaN or Inf, at the same places in the reference"
        return _finding("missing-values", "warning", text, None, Place(name, value=count))


def same(reference: np.ndarray, candidate: np.ndarray, tolerance: Tolerance | None) -> bool:
    """Whether two arrays of one shape agree; read piece by piece."""
    if reference.dtype.kind not in _NUMERIC or candidate.dtype.kind not in _NUMERIC:
        return bool(reference.dtype == candidate.dtype and np.array_equal(reference, candidate))
    if not reference.size:
        return True
    if not reference.ndim or reference.size <= _ROWS:
        return _same(np.atleast_1d(reference), np.atleast_1d(candidate), tolerance)
    rows = max(1, _ROWS * len(reference) // reference.size)
    pieces = range(0, len(reference), rows)
    return all(_same(reference[i : i + rows], candidate[i : i + rows], tolerance) for i in pieces)


def _same(reference: np.ndarray, candidate: np.ndarray, tolerance: Tolerance | None) -> bool:
    if tolerance is None:
        return agree(reference, candidate)
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    return bool(np.allclose(c, r, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True))


def _furthest(reference: np.ndarray, candidate: np.ndarray) -> str:
    gap = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    place = np.unravel_index(int(np.nanargmax(gap)), gap.shape)
    return f"values differ by up to {gap[place]:.3g}, at {[int(i) for i in place]}"


def _lacking(name: str, holder: Folder, other: Folder, missing: bool) -> Finding:
    values = holder.array(name)
    what = f"{values.dtype} {list(values.shape)}"
    kind = "array-missing" if missing else "array-extra"
    text = f"{other.path} lacks {name} ({what}), which {holder.path} has"
    place = Place(name, value=what)
    return _finding(kind, "fault", text, place if missing else None, None if missing else place)


def _finding(kind: str, severity: str, text: str, mine: Place | None, theirs: Place | None) -> Finding:
    status = "introduced" if severity == "fault" else None
    return Finding(kind, "data", severity, status, None, None, mine, theirs, None, None, None, text)


def _document(
    findings: list[Finding], mine: Folder, theirs: Folder, compared: int, total: int, unaligned: Unaligned
) -> Comparison:
    faults = [i for i, f in enumerate(findings) if f.severity == "fault"]
    if faults:
        verdict, headline = "diverged", findings[faults[0]].message
    elif not compared:
        verdict, headline = "inconclusive", f"neither {mine.path} nor {theirs.path} holds a .npy or .npz file"
    else:
        warned = sum(f.severity == "warning" for f in findings)
        verdict = "match"
        headline = f"match: {compared} array{'s' * (compared != 1)} agree"
        headline += f"; {warned} warning{'s' * (warned > 1)}" if warned else ""
    stage = Stage(verdict, compared, total, len(faults))
    sides = [Side(["parity", "data", str(folder.path)]) for folder in (mine, theirs)]
    return Comparison(
        verdict, headline, faults[0] if faults else None, findings, {"data": stage}, unaligned, sides[0], sides[1]
    )
