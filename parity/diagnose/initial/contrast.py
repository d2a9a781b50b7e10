"""What two corresponding parameters' initial values decide by themselves, without a test of distributions."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np

from parity.diagnose.initial.initializers import said
from parity.diagnose.initial.values import Pair, Part, law_of, sample
from parity.sample import spread

_SAME = 1e-5
"""Relative RMS distance of values that are the same but for rounding in their making."""

_NEAR = 1e-2
"""Relative RMS distance up to which tables that were computed (position encodings) may differ by rounding."""

_FEW = 4096
"""Elements that are looked at before all are."""


class Contrast:
    """A difference of initial values at one pair.

    Attributes:
        pair: The parameters.
        kind: `initializer` or `initial-value`.
        text: The difference in words.
        values: Both sides' start in words.
        p: The p-value of the test that found it, 0 where the values contradict each other.
        cause: Equal for differences of one cause, at layers of one class.
        sure: Whether it is a fault.
    """

    def __init__(
        self, pair: Pair, kind: str, text: str, values: tuple[str, str], cause: Hashable, p: float = 0.0,
        sure: bool = True,
    ) -> None:  # fmt: skip
        self.pair = pair
        self.kind = kind
        self.text = text
        self.values = values
        self.cause = cause
        self.p = p
        self.sure = sure
        r, c = pair.reference, pair.candidate
        if r.loaded and not c.loaded:
            self.kind, self.cause = "initial-value", "not loaded"
        elif c.loaded and not r.loaded:
            self.kind, self.cause = "initial-value", "loaded"


def contrast(pair: Pair) -> bool | Contrast:
    """True where both start from equal values, a contrast where the values contradict each other, else False."""
    r, c = pair.reference, pair.candidate
    if _equal(pair):
        return True
    if r.constant is not None or c.constant is not None:
        return _constant(pair)
    rows = r.zero_rows, c.zero_rows
    if rows[0] != rows[1] and not pair.transposed and len(rows[0]) + len(rows[1]) < 9:
        shown = [", ".join(map(str, found)) or "none" for found in rows]
        text = f"rows that start as zero: {shown[0]} in the reference, {shown[1]} here"
        return Contrast(pair, "initial-value", text, (f"zero rows: {shown[0]}", f"zero rows: {shown[1]}"), "rows")
    if r.drawn or c.drawn:
        return False
    return _stored(pair)


def _constant(pair: Pair) -> bool | Contrast:
    r, c = pair.reference, pair.candidate
    if c.info.buffer and (r.drawn or c.drawn):
        return False
    single = [p.own.size == 1 and p.constant not in (None, 0.0, 1.0) for p in (r, c)]
    if (single[0] and c.drawn and not _foreign(r, c)) or (single[1] and r.drawn and not _foreign(c, r)):
        return False  # one number may have been drawn unseen
    laws = [law_of(p, sample([p]) if p.constant is None else None) for p in (r, c)]
    known = [sample([p]) if p.constant is None else None for p in (r, c)]
    values = said(laws[0], known[0]), said(laws[1], known[1])
    text = f"it starts as {values[0]} in the reference and as {values[1]} here"
    kind = "initializer" if r.drawn or c.drawn else "initial-value"
    cause = (r.constant, c.constant) if None not in (r.constant, c.constant) else (laws[0][0], laws[1][0])
    return Contrast(pair, kind, text, values, cause)


def _foreign(one: Part, drawn: Part) -> bool:
    """Whether a single number was written down, or is far from all that the other side draws."""
    number = float(one.own.reshape(-1)[0])
    known = sample([drawn]) if drawn.values is not None else None
    return float(f"{number:.3g}") == number or (
        known is not None and known.size > 100 and abs(number - known.mean) > 8 * known.std
    )


def _equal(pair: Pair) -> bool:
    mine, theirs = _flat(pair.reference, pair.transposed), _flat(pair.candidate)
    some = spread(mine.size, min(mine.size, _FEW))
    return _distance(mine[some], theirs[some]) <= _SAME and _distance(mine, theirs) <= _SAME


def _distance(mine: np.ndarray, theirs: np.ndarray) -> float:
    """RMS distance relative to the reference's RMS; absolute where that is 0."""
    if mine.size == 0:
        return 0.0
    a, b = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    scale = math.sqrt(float(np.mean(a**2)))
    return math.sqrt(float(np.mean((a - b) ** 2))) / (scale or 1.0)


def _stored(pair: Pair) -> bool | Contrast:
    """Two sets of values that no initializer made: equal, the same in another order, nearly equal, or unrelated."""
    r, c = pair.reference, pair.candidate
    mine, theirs = (np.asarray(v, np.float64) for v in (_flat(r, pair.transposed), _flat(c)))
    relative = _distance(mine, theirs)
    if relative <= _NEAR and not (r.own.dtype.kind in "iub" and c.own.dtype.kind in "iub"):
        return True
    if c.own.ndim == 2 and c.own.shape[0] == c.own.shape[1] and np.array_equal(mine, c.own.T.reshape(-1)):
        return True
    a, b = np.sort(mine), np.sort(theirs)
    spread_ = float(mine.std() * theirs.std())
    alike = float(np.mean((mine - mine.mean()) * (theirs - theirs.mean()))) / spread_ if spread_ > 0 else 0.0
    if _distance(a, b) < _SAME and len(np.unique(a)) > 4:
        text = "the same values in another order"
    elif alike > 0.5 or c.info.buffer or (r.loaded and c.loaded):
        text = f"the values differ by {relative:.2g} of their RMS"
    else:
        return False
    shown = [f"{v.size} values, first {v[0]:.6g}" for v in (mine, theirs)]
    return Contrast(pair, "initial-value", text, (shown[0], shown[1]), "stored")


def _flat(part: Part, transposed: bool = False) -> np.ndarray:
    values = part.own
    if transposed:
        values = values.reshape([n for n in values.shape if n != 1]).T
    return values.reshape(-1)
