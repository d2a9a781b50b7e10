"""Labels and other whole numbers: another offset, another numbering, one-hot."""

from __future__ import annotations

import numpy as np

from parity.data.difference import How

_SHOWN = 4


def renumbered(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """A constant offset, or another numbering of the same classes; integers of one shape."""
    r, c = reference.astype(np.int64).reshape(-1), candidate.astype(np.int64).reshape(-1)
    if r.shape != c.shape or not r.size:
        return None
    step = c - r
    if (step == step[0]).all():
        text = f"whole numbers are offset by {int(step[0]):+d}: {_range(c)} where the reference has {_range(r)}"
        return [How("label-offset", text, 1.0, (int(r.min()), int(c.min())))]
    values, first, inverse = np.unique(r, return_index=True, return_inverse=True)
    partner = c[first]
    if len(values) < 2 or len(values) > r.size // 2 or not (partner[inverse] == c).all():
        return None
    moved = [(int(a), int(b)) for a, b in zip(values, partner, strict=True) if a != b]
    shown = ", ".join(f"{a} to {b}" for a, b in moved[:_SHOWN]) + (", ..." if len(moved) > _SHOWN else "")
    merged = len(np.unique(partner)) < len(values)
    kind = "label-merge" if merged else "label-order"
    what = "several classes become one" if merged else "classes are numbered in another order"
    return [How(kind, f"{what}: {shown}", 1.0)]


def one_hot(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Class numbers on one side, one-hot rows (smoothed or not) on the other."""
    for dense, sparse, who in ((candidate, reference, True), (reference, candidate, False)):
        if dense.ndim != sparse.ndim + 1 or dense.shape[:-1] != sparse.shape or sparse.dtype.kind not in "iub":
            continue
        low, high = float(dense.min()), float(dense.max())
        if dense.shape[-1] < 2 or low == high or not np.all((dense == low) | (dense == high)):
            continue
        if not np.all((dense == high).sum(-1) == 1):
            continue
        classes = dense.argmax(-1)
        if not (classes == sparse).all():
            continue
        smooth = f", smoothed to {low:.3g} and {high:.3g}" if (low, high) != (0.0, 1.0) else ""
        text = (
            f"labels are one-hot over {dense.shape[-1]} classes{smooth} where the reference has class numbers"
            if who
            else f"labels are class numbers where the reference has them one-hot over {dense.shape[-1]} classes{smooth}"
        )
        return [How("one-hot", text, 0.0 if not smooth else 1.0)]
    return None


def _range(values: np.ndarray) -> str:
    return f"{int(values.min())}..{int(values.max())}"
