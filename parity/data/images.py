"""Images and other grids: another order of axes or channels, flips, crops, another interpolation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from parity.data.difference import How, agree, distance

_NAMES: dict[tuple[int, ...], str] = {
    (0, 2, 3, 1): "the layout is HWC where the reference has CHW",
    (0, 3, 1, 2): "the layout is CHW where the reference has HWC",
}
_REACH = 8
"""Pixels by which a crop is tried to be moved."""

_TRIED = 16
"""Images on which movements are tried."""


def rearranged(values: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """The same samples, [N, ...], in other arrangements: (what the candidate would then have, kind, samples)."""
    if not 2 <= values.ndim <= 5:
        return
    for axis in range(1, values.ndim):
        if values.shape[axis] in (3, 4) and values.ndim > 2:
            reverse = [2, 1, 0, 3][: values.shape[axis]]
            yield "channels are in the opposite order (BGR against RGB)", "channel-order", values.take(reverse, axis)
    if values.ndim >= 3:
        for axis in range(1, values.ndim):
            if values.shape[axis] > 4:
                yield f"samples are mirrored along axis {axis}", "flip", np.flip(values, axis)
    for order in itertools.permutations(range(1, values.ndim)):
        if list(order) == sorted(order):
            continue
        turned = values.transpose(0, *order)
        name = _NAMES.get((0, *order), f"axes are in the order {[0, *order]} of the reference's")
        yield name, "layout", turned
        if values.shape != turned.shape:
            text = "the axes were reshaped, not transposed: values of one channel lie in several"
            yield text, "layout", turned.reshape(values.shape)


def _spatial(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The two axes of height and width of images [N, ...]."""
    if len(shape) == 3:
        return 1, 2
    if len(shape) == 4:
        return (2, 3) if shape[1] <= shape[3] else (1, 2)
    return None


def moved(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Flips and crops that differ from image to image, or one that is the same for all."""
    axes = _spatial(reference.shape)
    if axes is None or reference.shape != candidate.shape or min(reference.shape[a] for a in axes) < 8:
        return None
    pairs = list(zip(reference[:_TRIED], candidate[:_TRIED], strict=True))
    spatial = (axes[0] - 1, axes[1] - 1)
    found = [_movement(r, c, spatial) for r, c in pairs]
    if any(f is None for f in found):
        return None
    flips = sum(bool(f and f[2]) for f in found)
    shifts = {(f[0], f[1]) for f in found if f}
    if shifts == {(0, 0)}:
        text = f"{flips} of {len(found)} images are mirrored" if flips < len(found) else "every image is mirrored"
        return [How("flip", text, 1.0)]
    if len(shifts) == 1 and not flips:
        dy, dx = next(iter(shifts))
        return [How("crop", f"images are cut out {dy:+d} rows and {dx:+d} columns elsewhere", 1.0)]
    text = "each image is cut out at another place" + (f" and {flips} of {len(found)} are mirrored" if flips else "")
    return [How("crop", text + ": random augmentation without a common seed", 1.0)]


def _movement(r: np.ndarray, c: np.ndarray, axes: tuple[int, int]) -> tuple[int, int, bool] | None:
    """Shift in rows and columns, and whether mirrored, that makes one image the other where they overlap."""
    height, width = r.shape[axes[0]], r.shape[axes[1]]
    reach = min(_REACH, height // 3, width // 3)
    shifts = sorted(itertools.product(range(-reach, reach + 1), repeat=2), key=lambda s: abs(s[0]) + abs(s[1]))
    rows, columns = np.moveaxis(r, axes, (0, 1)), np.moveaxis(c, axes, (0, 1))
    for mirrored in (False, True):
        base = rows[:, ::-1] if mirrored else rows
        for dy, dx in shifts:
            a = base[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            b = columns[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
            if np.ptp(a) > 0 and agree(a, b):
                return dy, dx, mirrored
    return None


def smooth(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Nearly the same images: another interpolation, decoder or rounding."""
    if reference.shape != candidate.shape:
        return None
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    error = distance(r - r.mean(), c - r.mean())
    if np.array_equal(reference.astype(np.float16).astype(np.float64), c):
        return [How("rounding", "values are rounded to half precision", error)]
    changed = (c - r)[r != c]
    part = changed.size < 0.8 * r.size and bool((changed > 0).all() or (changed < 0).all())
    if error < 5e-3 and not part:
        text = f"values differ a little everywhere, by {error:.1e} of their spread: rounded to fewer digits"
        return [How("rounding", text, error)]
    if _one_level(r, c):
        return [How("rounding", "values differ by one level at most: rounding of whole pixels", error)]
    if part or _spatial(reference.shape) is None:
        return None
    flat = [a.reshape(len(a), -1) - a.reshape(len(a), -1).mean(1, keepdims=True) for a in (r, c)]
    norms = [np.sqrt((a * a).sum(1)) for a in flat]
    likeness = (flat[0] * flat[1]).sum(1) / np.maximum(norms[0] * norms[1], 1e-300)
    chance = (flat[0] * np.roll(flat[1], 1, 0)).sum(1) / np.maximum(norms[0] * np.roll(norms[1], 1), 1e-300)
    if likeness.min() < 0.5 or (likeness.min() < 0.9 and likeness.mean() < chance.mean() + 0.3):
        return None
    text = (
        f"images are alike (correlation {likeness.mean():.4f}) and yet differ by {error:.1e} of their spread: another "
        "interpolation or antialiasing when they are resized, or another decoder"
    )
    return [How("resize", text, error)]


def _one_level(r: np.ndarray, c: np.ndarray) -> bool:
    """Whether values that stand on few levels, such as pixels, differ by no more than from one level to the next."""
    split = r.ndim == 4 and r.shape[1] <= 4
    channels, gaps = (np.moveaxis(a, 1, 0) if split else a[None] for a in (r, np.abs(r - c)))
    for values, gap in zip(channels, gaps, strict=True):
        levels = np.unique(values)
        if not 2 < len(levels) <= 1024 or gap.max() > 1.5 * float(np.median(np.diff(levels))):
            return False
    return True
