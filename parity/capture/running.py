"""Running statistics that were updated differently: by another momentum, or with another variance."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.align.values import rms
from parity.measured import Measured


def name_update(record: Measured, old: np.ndarray, mine: np.ndarray, theirs: np.ndarray, momentum: Any) -> None:
    """Notes what would turn the reference's update of a running statistic into the candidate's.

    Both start from `old` and see the same batch: `new = (1 - momentum) * old + momentum * statistic`.

    Args:
        record: Gets `own-momentum`, the reference's; `momentum`, the candidate's, with `momentum-rest`, what that
            leaves of the update relative to it; and `variance`, the candidate's statistic as a multiple of the
            reference's, with `variance-rest`.
        old: The statistic before, any shape.
        mine: What the reference makes of it.
        theirs: What the candidate made.
        momentum: The reference's; None where it is none (a cumulative average).
    """
    if not isinstance(momentum, float) or not 0 < momentum < 1:
        return
    record.alternatives["own-momentum"] = momentum
    before, a, b = (np.asarray(v, np.float64) for v in (old, mine, theirs))
    for name, left, right, factor in (
        ("momentum", a - before, b - before, momentum),
        ("variance", a - (1 - momentum) * before, b - (1 - momentum) * before, 1.0),
    ):
        square = float(np.sum(left**2))
        if square > 0 and np.isfinite(right).all():
            ratio = float(np.sum(left * right)) / square
            record.alternatives[name] = ratio * factor
            record.alternatives[f"{name}-rest"] = rms(right - ratio * left) / max(rms(right), 1e-30)
