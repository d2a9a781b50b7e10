"""The values of metric objects on both sides: the same predictions and labels must give the same value."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from parity.align.values import distance, rms
from parity.diagnose.names import at
from parity.document import Cause, Finding, Place
from parity.model import MetricEvent
from parity.trace import Trace

SAME = 1e-4
"""Relative difference of predictions up to which two metric objects were given the same, and of equal values."""

_KINDS = (
    ("accuracy", "multiclassaccuracy", "binaryaccuracy", "top1categoricalaccuracy", "categoricalaccuracy"),
    ("mse", "meansquarederror"),
    ("mae", "meanabsoluteerror"),
    ("f1", "f1score", "multiclassf1score", "binaryf1score"),
    ("fbeta", "fbetascore", "multiclassfbetascore", "binaryfbetascore"),
    ("precision", "multiclassprecision", "binaryprecision"),
    ("recall", "multiclassrecall", "binaryrecall"),
    ("confusionmatrix", "multiclassconfusionmatrix", "binaryconfusionmatrix"),
    ("loss", "meanmetric", "average", "runningaverage"),
    ("dice", "dicescore", "dicecoefficient"),
    ("topkcategoricalaccuracy", "topkaccuracy"),
)
"""Classes that measure the same, in lower case without underscores; any other is known by its own name."""


class _Answer(NamedTuple):
    """A metric object's answer, its arrays at hand."""

    event: MetricEvent
    inputs: list[np.ndarray]
    values: np.ndarray


def metric_values(reference: Trace, candidate: Trace) -> tuple[list[Finding], int]:
    """Findings of metric objects that measure the same on both sides, and how many values were compared.

    A value that differs for the same predictions and labels is a fault, where it has the same form and is not a
    round multiple (a script may divide afterwards, or mean percent). Of other predictions only a note is made.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
    """
    mine, theirs = _answers(reference), _answers(candidate)
    found: dict[str, Finding] = {}
    compared = 0
    for key in sorted(mine.keys() & theirs.keys()):
        for one, other in zip(mine[key], theirs[key], strict=False):
            compared += 1
            finding = _finding(one, other)
            known = found.get(key[1])
            if finding is not None and (known is None or (known.severity, finding.severity) == ("note", "fault")):
                found[key[1]] = finding
    return list(found.values()), compared


def _answers(trace: Trace) -> dict[tuple[int, str], list[_Answer]]:
    """By step and by what is measured, in their order."""
    found: dict[tuple[int, str], list[_Answer]] = defaultdict(list)
    for event in trace.of(MetricEvent):
        inputs = [np.asarray(trace.array(ref), np.float64) for ref in event.inputs]
        parts = [np.asarray(trace.array(ref), np.float64).reshape(-1) for ref in event.values.values()]
        found[(event.step, _kind(event))].append(_Answer(event, inputs, np.concatenate(parts)))
    return found


def _kind(event: MetricEvent) -> str:
    name = event.class_name.lower().replace("_", "")
    return next((kinds[0] for kinds in _KINDS if name in kinds), name)


def _finding(one: _Answer, other: _Answer) -> Finding | None:
    mine, theirs = one.values, other.values
    alike = mine.size == theirs.size
    if not alike and 1 in (mine.size, theirs.size) and _near(mine.mean(), theirs.mean(), SAME):
        return None  # one value for each class, and their mean
    same = _given_the_same(one, other)
    if alike and _near(mine, theirs, _allowed(one, other) if same else SAME):
        return None
    if same is None or not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        return None
    r, c = (Place(a.event.name, a.event.file, a.event.line, _shown(a.values)) for a in (one, other))
    names = one.event.class_name, other.event.class_name
    text = f"{names[1]} gives {c.value} ({at(c)}), where {names[0]} gives {r.value} ({at(r)})"
    when = f"after {one.event.step} steps" if one.event.step else "before the first step"
    severity = "fault" if same and alike and not _round(mine, theirs) else "warning" if same else "note"
    what = "for the same inputs" if same else "for other inputs"
    finding = Finding(
        "metric-value", "metrics", severity, "introduced" if severity == "fault" else None, one.event.step, None, r, c,
        None, None, None, f"{text}, {what}, {when}",
    )  # fmt: skip
    if same:
        finding.error = distance(theirs, mine) if alike and mine.any() else None
        mine_too, theirs_too = (
            ", ".join(f"{k}={v}" for k, v in a.event.arguments.items()) or "defaults" for a in (one, other)
        )
        finding.cause = Cause(
            f"the two classes do not define the metric alike: {names[0]} ({mine_too}), {names[1]} ({theirs_too})", 0.7
        )
    return finding


def _shown(values: np.ndarray) -> object:
    rounded = [float(f"{value:.5g}") for value in values[:8]]
    return rounded[0] if values.size == 1 else rounded


def _near(a: np.ndarray | float, b: np.ndarray | float, allowed: float) -> bool:
    return bool(np.allclose(a, b, rtol=allowed, atol=allowed * 1e-2, equal_nan=True))


def _allowed(one: _Answer, other: _Answer) -> float:
    """How much values may differ: where rounding decides to which class samples belong, by as many of them."""
    if not one.inputs or not other.inputs or one.inputs[0].shape != other.inputs[0].shape or one.inputs[0].ndim > 2:
        return SAME
    mine, theirs = one.inputs[0], other.inputs[0]
    moved = 4 * float(np.abs(mine - theirs).max(initial=0.0))
    if mine.ndim == 2 and mine.shape[1] > 1:
        first, second = np.sort(mine, axis=1)[:, [-1, -2]].T
        open_ = np.sum(first - second <= moved)
    else:
        open_ = np.sum(np.minimum(np.abs(mine), np.abs(mine - 0.5)) <= moved)
    return max(SAME, 2 * float(open_) / max(len(mine), 1))


def _given_the_same(one: _Answer, other: _Answer) -> bool | None:
    """Whether two metric objects were given the same, None where that cannot be told."""
    if not one.inputs or not other.inputs:
        return None
    if [v.size for v in one.inputs] != [v.size for v in other.inputs]:
        return None if len(one.inputs) != len(other.inputs) else False
    pairs = list(zip(one.inputs, other.inputs, strict=True))
    return all(rms(a.reshape(-1) - b.reshape(-1)) <= SAME * max(rms(a), 1e-30) for a, b in pairs)


def _round(mine: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether one side's values are a whole multiple of the other's."""
    kept = np.abs(mine) > 0
    if not kept.any() or theirs[~kept].any() or not theirs[kept].all():
        return False
    ratios = theirs[kept] / mine[kept]
    ratio = float(np.median(ratios))
    whole = max(ratio, 1 / ratio) if ratio > 0 else 0.0
    return _near(ratios, ratio, SAME) and whole > 1.5 and abs(whole - round(whole)) < SAME * whole
