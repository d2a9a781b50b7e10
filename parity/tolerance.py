"""When a difference is more than rounding: the noise floor, and the ratio that is judged."""

from __future__ import annotations

import math

from parity.measured import Measured

FACTOR = 8.0
"""A tensor diverges where its error exceeds this many noise floors: correct MindSpore kernels reach 6.3 against torch's
(372 op instances), so 6 would alarm; of 240 benign rewrites none reaches 8."""

SCALAR = 4.0
"""A loss is one number, often a difference of larger ones: its floor is at least this many units of what it is made of
(MindSpore's cross-entropy is off by up to ten units
of the loss, and the gradient that it sends back by as much)."""

ROUGH = 2.0
"""Exponentials, sigmoids and the like are off by up to eight units in MindSpore's kernels: the probe is doubled.
So it is for gradients that are sums: those of small products reach 8.4 units."""

CANCELLED = 32.0
"""Units of an intermediate that a cancelling formula may be off by: two ops of eight units each, twice."""


def floor(record: Measured) -> float:
    """What rounding explains at a place (absolute RMS).

    The largest of: the reference's own float32 error; the effect of a unit of rounding at everything that entered,
    not less than the unit itself; that effect times sqrt(n)/8, because another order of summation of n terms is off by
    a factor that grows with sqrt(n) (Higham and Mary 2019); half a unit of the sum of absolute terms, where a sum
    cancels.
    """
    summed = record.kind in ("gradient", "parameter-gradient") and record.n > 1
    units = ROUGH if record.rough or summed else 1.0
    probe = units * max(record.probe, record.unit * record.scale)
    return max(record.slack, record.single, probe, math.sqrt(record.n) * probe / FACTOR, record.unit * record.terms / 2)


TANH = 1.25e-5
"""MindSpore 2.10's CPU tanh is off by up to 1e-4 where its argument exceeds 3 (measured against float64)."""


def ratio(error: float, noise: float) -> float:
    """Error in noise floors; infinite where nothing may differ and something does."""
    if noise > 0:
        return error / noise
    return math.inf if error > 0 else 0.0


EXP = 7 * 2.0**-24
"""MindSpore 2.10's CPU `exp`, and what is built on it in one kernel (ELU, softplus, log-sigmoid, log-softmax), is off
by up to 43 units (measured against float64): of its value, or of 1 where 1 is subtracted or added. The gradients of its
log-softmax are off by 32 (RMS, 200 x 3 to 200 x 100)."""
