"""Each measured place held against its noise floor."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from parity.measured import Forced, Measured
from parity.tolerance import FACTOR, SCALAR, floor, ratio


class Judged(NamedTuple):
    """A measured place with its floor and ratio; `flagged` where the difference is more than rounding."""

    record: Measured
    floor: float
    ratio: float
    flagged: bool

    @property
    def relative(self) -> tuple[float, float]:
        """Error and floor divided by the RMS of the reference's value (absolute where that is 0)."""
        scale = self.record.scale or 1.0
        return self.record.error / scale, self.floor / scale


def judged_records(forced: Forced, options: Any) -> list[Judged]:
    """Judges every measured place.

    Args:
        forced: A forced run.
        options: `rtol` and `atol`, where both are given, replace the noise floor by the fixed rule.
    """
    rtol, atol = getattr(options, "rtol", None), getattr(options, "atol", None)
    outputs: dict[int, float] = {}
    for record in forced.measured:
        if record.kind == "root":
            outputs[record.step] = max(outputs.get(record.step, 0.0), record.peak)
    judged = []
    for record in forced.measured:
        noise = floor(record)
        if record.kind == "loss":
            made_of = max(record.scale, outputs.get(record.step, 0.0))
            noise = max(noise, SCALAR * record.unit * made_of)
        if record.kind == "gradient" and not record.path:
            noise = max(noise, SCALAR * record.unit * record.scale)
        found = ratio(record.error, noise)
        if rtol is not None and atol is not None:
            flagged = record.worst > atol + rtol * record.scale
        else:
            flagged = found > FACTOR
        judged.append(Judged(record, noise, found, bool(flagged or record.mismatch or math.isnan(found))))
    return judged
