"""Another scale or shift: a·x + b, for all values or for each channel."""

from __future__ import annotations

import numpy as np

from parity.data.difference import How, distance

_FITS = 1e-4
"""Part of a channel's variance that a line may leave."""

_EXPLAINS = 0.1
"""Part of the squared difference that a line may leave; else the difference is something else."""

_SMALLEST = 16
"""Values of a channel that a line must have been fitted to."""

_CHANNELS = 512
"""Channels of an axis that are fitted one by one."""


def rescaled(reference: np.ndarray, candidate: np.ndarray) -> list[How] | None:
    """Whether the candidate is a·x + b of the reference, float or integer [N, ...]."""
    if reference.shape != candidate.shape or reference.size < _SMALLEST:
        return None
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    mask = np.isfinite(r) & np.isfinite(c)
    if not mask.all():
        r, c = np.where(mask, r, 0.0), np.where(mask, c, 0.0)
    whole = _line(r.reshape(1, -1), c.reshape(1, -1))
    if whole is not None:
        return _told(whole, r, c)
    for axis in dict.fromkeys((1, r.ndim - 1)):
        if r.ndim < 2 or r.shape[axis] > _CHANNELS or r.size // r.shape[axis] < _SMALLEST:
            continue
        fit = _line(*(np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1) for a in (r, c)))
        if fit is not None:
            return _told(fit, r, c)
    return None


def _line(r: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Slope and intercept for each row of float64 [C, M], None where lines do not fit."""
    centre, other = r.mean(1), c.mean(1)
    x, y = r - centre[:, None], c - other[:, None]
    spread = (x * x).sum(1)
    flat = spread <= 1e-20 * np.maximum((r * r).sum(1), 1e-300)
    slope = np.where(flat, 1.0, (x * y).sum(1) / np.where(flat, 1.0, spread))
    left = y - slope[:, None] * x
    total = (y * y).sum(1)
    if flat.all() or float(np.abs(slope[~flat]).min()) < 1e-9:
        return None
    rounding = r.shape[1] * (1e-6 * np.abs(c).max(1)) ** 2
    if not ((left * left).sum(1) <= _FITS * total + rounding).all():
        return None
    if float((left * left).sum()) > _EXPLAINS * float(((c - r) ** 2).sum()):
        return None
    return slope, other - slope * centre


def _told(fit: tuple[np.ndarray, np.ndarray], r: np.ndarray, c: np.ndarray) -> list[How] | None:
    slope, shift = fit
    size = distance(r, c)
    scale = float(np.sqrt(np.mean(c * c))) or 1.0
    same_slope, no_shift = bool(np.allclose(slope, 1, atol=1e-4)), bool(np.all(np.abs(shift) < 1e-4 * scale))
    if same_slope and no_shift:
        return None
    factors = (slope.tolist(), shift.tolist())
    if same_slope:
        kind, text = "shift", f"values are shifted by {_numbers(shift)}"
    elif no_shift:
        kind, text = "scale", f"values are scaled by {_numbers(slope)}{_known(slope)}"
    else:
        kind = "normalization"
        text = f"values are normalised differently: {_numbers(slope)}·x + {_numbers(shift)} of the reference's x"
        text += _known(slope)
    if len(slope) > 1 and not (np.allclose(slope, slope[0]) and np.allclose(shift, shift[0])):
        text += ", channel by channel"
    return [How(kind, text, size, None, factors)]


def _known(slope: np.ndarray) -> str:
    """The factor that pixels in 0..255 and in 0..1 have between them."""
    for factor in (255, 256):
        for power, shown in (
            (1, f"{factor}"),
            (-1, f"1/{factor}"),
            (2, f"{factor} squared"),
            (-2, f"1/{factor} squared"),
        ):
            if np.allclose(slope, float(factor) ** power, rtol=2e-3):
                return f" (the factor {shown}, as between pixels in 0..{factor} and in 0..1)"
    return " (with the opposite sign)" if np.all(slope < 0) else ""


def _numbers(values: np.ndarray) -> str:
    if len(values) == 1 or np.allclose(values, values[0], rtol=1e-4):
        return f"{values[0]:.6g}"
    shown = ", ".join(f"{v:.5g}" for v in values[:4])
    return f"[{shown}{', ...' if len(values) > 4 else ''}]"
