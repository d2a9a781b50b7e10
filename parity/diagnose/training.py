"""The stage `training`: loss curves held against the reference's own noise, and the symptoms of each run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.diagnose.stage import Context
from parity.diagnose.symptoms import symptoms
from parity.document import Cause, Finding, Place, Stage
from parity.tolerance import FACTOR
from parity.trace import loss_curve

TIMES = 5.0
"""Envelopes by which a candidate's loss may be off: 30 benign runs of two networks stay within 1."""

SURE = 10.0
"""Times that, from which on a curve without any other fault is a fault by itself, and not a warning."""

SATURATED = 0.01
"""Relative width at which an envelope says nothing any more."""


class Gap(NamedTuple):
    """How a candidate's losses lie to the reference's.

    Attributes:
        left: The first step at which they leave the envelope, None where they do not.
        ratio: The distance there (else the largest one), in envelopes.
        horizon: The step at which rounding has taken over, None where it does not.
        last: The relative distance at the last step.
    """

    left: int | None
    ratio: float
    horizon: int | None
    last: float


def gap(mine: list[float], theirs: list[float], runs: list[list[float]], noise: float) -> Gap:
    """Holds two loss curves against the curves of runs whose weights were moved by rounding.

    Args:
        mine: The reference's losses [T].
        theirs: The candidate's.
        runs: Losses of the reference's moved runs, each up to where it left the undisturbed one.
        noise: Relative error of one loss that rounding explains.
    """
    steps = min(len(mine), len(theirs))
    width, most, left, horizon = 0.0, 0.0, None, None
    for step in range(steps):
        beyond = [run[step] for run in runs if step < len(run)]
        width = max([width, *(abs(x - mine[step]) for x in beyond)])
        if len(beyond) < len(runs) or not width < SATURATED * abs(mine[step]):
            horizon = step
            break
        distance = abs(theirs[step] - mine[step])
        ratio = distance / (width + noise * abs(mine[step]) + 1e-45) if np.isfinite(distance) else float("inf")
        if left is None:
            most = max(most, ratio)
            left = step if ratio > TIMES else None
    end = abs(theirs[steps - 1] - mine[steps - 1]) / (abs(mine[steps - 1]) or 1.0) if steps else 0.0
    return Gap(left, most, horizon, float(end))


def judge(context: Context, faults: list[Finding]) -> tuple[list[Finding], Stage]:
    """What the stage finds, given the faults of the others.

    Args:
        context: The pair of runs.
        faults: The introduced faults, in order.
    """
    found = symptoms(context.reference, context.candidate, faults)
    if not context.forced.curves:
        return found, Stage("skipped", note="only symptoms of the captured steps; --train N compares the losses")
    mine, theirs = loss_curve(context.reference), loss_curve(context.candidate)
    scale = 1.0
    for step in range(len(theirs)):
        scale = context.forced.scale.get(str(step), scale)
        theirs[step] /= scale
    noise = max([2 * 2.0**-24, *(j.relative[1] * FACTOR / TIMES for j in context.judged if j.record.kind == "loss")])
    seen = gap(mine, theirs, context.forced.curves, noise)
    steps = min(len(mine), len(theirs))
    sampled = sorted({j.record.step for j in context.judged})
    where = f"{len(sampled)} sampled steps ({_some(sampled)})"
    if seen.left is None:
        text = f"the losses of {steps} steps stay within what rounding explains"
        if seen.horizon is not None:
            text = f"the losses stay within the reference's own noise until it saturates at step {seen.horizon}"
            if not faults and seen.last <= TIMES * noise:
                text = f"the losses of {steps} steps agree; from step {seen.horizon} on rounding alone could part them"
            elif not faults:
                text = (
                    f"rounding chaos explains the gap of {seen.last:.1e} after {steps} steps: {text}, and {where} are "
                    "without a fault"
                )
            note = Finding("training-curve", "training", "note", None, seen.horizon, None, Place(""), Place(""), None, None, None, text)  # noqa: E501  # fmt: skip
            found.append(note)
        return found, Stage("match", seen.horizon if seen.horizon is not None else steps, steps, note=text)
    step = seen.left
    distance = abs(theirs[step] - mine[step]) / (abs(mine[step]) or 1.0)
    message = (
        f"the loss leaves the reference's noise envelope at step {step}: {theirs[step]:.7g} where the reference has "
        f"{mine[step]:.7g}"
    )
    places = Place("", value=mine[step]), Place("", value=theirs[step])
    finding = Finding(
        "training-curve", "training", "note", "propagated", step, None, *places, distance, distance / seen.ratio,
        seen.ratio, message,
    )  # fmt: skip
    if faults:
        finding.message += f"; the first faulty thing is: {faults[0].message}"
    else:
        finding.severity, finding.status = ("fault" if seen.ratio > SURE * TIMES else "warning"), "introduced"
        finding.cause = Cause(
            f"it lies between the sampled steps: {where} are without a fault; --steps {step + 1} follows all up to it",
            0.3,
        )
    status = "diverged" if finding.severity == "fault" else "match"
    return [*found, finding], Stage(status, step, steps, int(status == "diverged"), finding.message)


def _some(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) if len(steps) < 9 else f"{', '.join(map(str, steps[:6]))}, ..., {steps[-1]}"
