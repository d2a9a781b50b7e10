"""How two arrays of samples differ: the simplest rearrangement, rescaling or renumbering that makes one the other.

Arrays are [N, ...] with one sample a row, in the same order on both sides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from parity.data.difference import How, agree, finite_match, shaped
from parity.data.images import moved, rearranged, smooth
from parity.data.labels import one_hot, renumbered
from parity.data.partly import partly
from parity.data.scaling import rescaled
from parity.data.sequences import padded, shifted

_LIMIT = 2**22
"""Elements of an array that are looked at."""

Test = Callable[[np.ndarray, np.ndarray], "list[How] | None"]


def explain(reference: np.ndarray, candidate: np.ndarray) -> list[How]:
    """What makes the candidate's samples out of the reference's; empty where they agree.

    Args:
        reference: Any numeric type [N, ...].
        candidate: The same samples as the candidate has them; any shape and type.

    Returns:
        One `How` for each separate difference, the last with kind `unrelated` where nothing else fits.
    """
    found = _values(*_limited(reference, candidate))
    return found if any(how.kind == "dtype" for how in found) else _precision(reference, candidate) + found


def _values(reference: np.ndarray, candidate: np.ndarray) -> list[How]:
    if reference.shape != candidate.shape:
        squeezed = shaped(reference, candidate)
        if squeezed is None:
            return _of_other_shape(reference, candidate)
        reference = squeezed
    if agree(reference, candidate):
        return []
    lost = finite_match(reference, candidate)
    if lost is not None:
        return [lost]
    whole = reference.dtype.kind in "iub" and candidate.dtype.kind in "iub"
    tests: list[Test] = [rescaled, _laid_out, padded, shifted, moved, smooth]
    if whole:
        tests = [padded, shifted, renumbered, _laid_out, rescaled, moved]
    if not whole and candidate.dtype.kind in "iub":
        tests.insert(0, _truncated)
    for test in tests:
        found = test(reference, candidate)
        if found is not None:
            return found
    return partly(reference, candidate) or [How("unrelated", "the values have nothing to do with each other", 1.0)]


def _of_other_shape(reference: np.ndarray, candidate: np.ndarray) -> list[How]:
    for test in (one_hot, _laid_out, padded, shifted):
        found = test(reference, candidate)
        if found is not None:
            return found
    sizes = f"{list(candidate.shape[1:])} where the reference has {list(reference.shape[1:])}"
    same = candidate.ndim == reference.ndim == 4 and sorted(candidate.shape[1:])[0] == sorted(reference.shape[1:])[0]
    kind, what = ("image-size", "images") if same else ("shape", "samples")
    return [How(kind, f"{what} are {sizes}", 1.0, (list(reference.shape[1:]), list(candidate.shape[1:])))]


def _laid_out(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Another order of axes, with or without another scale."""
    for name, kind, arranged in rearranged(reference):
        if arranged.shape != candidate.shape:
            continue
        layout = [How(kind, name, 1.0)]
        if agree(arranged, candidate):
            return layout
        scale = rescaled(arranged, candidate)
        if scale is not None:
            return layout if kind == "channel-order" and _constants_only(scale) else layout + scale
    return None


def _constants_only(scale: list[How]) -> bool:
    """Whether a scale of each channel is what channels in the opposite order make of the same means and deviations.

    With x = (p - m) / s before, the channels i and j get each other's m and s: slopes that are inverse to one another,
    and shifts that undo one another.
    """
    if len(scale) != 1 or scale[0].factors is None:
        return False
    slope, shift = (np.asarray(values) for values in scale[0].factors)
    if len(slope) not in (3, 4) or len(shift) != len(slope):
        return False
    other = np.arange(len(slope))
    other[:3] = [2, 1, 0]
    size = 2e-3 * max(1.0, float(np.abs(shift).max()))
    return bool(
        np.allclose(slope * slope[other], 1, atol=2e-3) and np.allclose(shift[other], -shift / slope, rtol=0, atol=size)
    )


def _truncated(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Fractions that an integer type has lost."""
    if np.array_equal(np.trunc(reference), candidate) or np.array_equal(np.rint(reference), candidate):
        names = reference.dtype.name, candidate.dtype.name
        names = reference.dtype.name, candidate.dtype.name
        text = f"values are cut to whole numbers ({names[1]} where the reference has {names[0]})"
        return [How("dtype", text, 1.0, names)]
    return None


def _precision(reference: np.ndarray, candidate: np.ndarray) -> list[How]:
    """Another float width; integer widths are a framework's habit and no difference."""
    r, c = reference.dtype, candidate.dtype
    if r.kind == c.kind == "f" and r != c:
        return [How("dtype", f"{c.name} where the reference has {r.name}", 0.0, (r.name, c.name))]
    if {r.kind, c.kind} & {"f"} and r.kind != c.kind:
        return [How("dtype", f"{c.name} where the reference has {r.name}", 0.0, (r.name, c.name))]
    return []


def _limited(reference: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first samples, as many as are worth the time."""
    rows = min(len(reference), len(candidate))
    each = max(1, max(reference.size, candidate.size) // max(rows, 1))
    rows = max(1, min(rows, _LIMIT // each))
    return reference[:rows], candidate[:rows]
