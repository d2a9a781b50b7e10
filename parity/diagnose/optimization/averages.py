"""Averages of weights that the scripts keep (EMA, SWA): the decay of each, from its values alone."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from parity.align.values import distance, rms
from parity.diagnose.names import at
from parity.document import Cause, Finding, Place
from parity.model import ShadowEvent
from parity.trace import Trace

UNIT = 2.0**-24
"""Unit of rounding of float32."""

SURE = 8.0
"""By how many standard deviations two decays must differ."""

LIKE = 0.5
"""Relative distance from the weights under which something of their shapes is a copy, and not their gradients."""

LEAST = 1e-3
"""The least relative difference of `1 - decay` that counts, and what may be left of a change that it explains."""


class Average(NamedTuple):
    """A copy of the weights that goes towards them after each step.

    Attributes:
        event: Where it was seen first.
        decays: What is kept of it in each step.
        spread: The standard deviation of each.
    """

    event: ShadowEvent
    decays: dict[int, float]
    spread: dict[int, float]


def averages(reference: Trace, candidate: Trace) -> list[Finding]:
    """The finding of a decay that differs, where each side keeps one average of its weights, or of the only average.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
    """
    mine, theirs = _averages(reference), _averages(candidate)
    if len(mine) + len(theirs) == 1 and not _copies(candidate if mine else reference):
        return [_lone(mine[0], reference, candidate, True) if mine else _lone(theirs[0], candidate, reference, False)]
    if len(mine) != 1 or len(theirs) != 1:
        return []
    one, other = mine[0], theirs[0]
    for step in sorted(one.decays.keys() & other.decays.keys()):
        a, b = one.decays[step], other.decays[step]
        if min(a, b) < LEAST:
            continue  # it begins as a copy on one side, which is soon forgotten
        spread = max(one.spread[step], other.spread[step])
        if abs(a - b) > max(SURE * spread, LEAST * max(1 - a, 1 - b)):
            return [_finding(one, other, step)]
    return []


def _copies(trace: Trace) -> bool:
    """Whether a side keeps something that is like its weights and changes, whatever the rule."""
    values: dict[str, set[str]] = defaultdict(set)
    for event in trace.of(ShadowEvent):
        if distance(trace.array(event.values), trace.array(event.weights)) < LIKE:
            values[event.name].add(event.values.digest)
    return any(len(seen) > 1 for seen in values.values())


def _lone(average: Average, trace: Trace, without: Trace, missing: bool) -> Finding:
    """An average that one side keeps alone: a fault where that side computes with it, and the other has no copy."""
    event = average.event
    place = Place(event.name, event.file, event.line)
    side, other = ("reference", "candidate") if missing else ("candidate", "reference")
    called = any(companion.name == event.name.rpartition(".")[2] for companion in trace.companions)
    text = f"the {side} keeps an average of its weights, {at(place)}; none was seen in the {other}"
    used = called and not without.companions
    if called:
        text += f"; the {side} calls it between its steps"
    r, c = (place, Place("")) if missing else (Place(""), place)
    kind = "ema-missing" if missing else "ema-extra"
    severity, status = ("fault", "introduced") if used else ("warning", None)
    return Finding(kind, "optimizer", severity, status, None, None, r, c, None, None, None, text)


def _finding(one: Average, other: Average, step: int) -> Finding:
    r, c = (
        Place(a.event.name, a.event.file, a.event.line, _shown(a.decays[step], a.spread[step])) for a in (one, other)
    )
    text = (
        f"{at(c)} keeps {c.value:g} of its average of the weights after step {step - 1}, "
        f"where {at(r)} keeps {r.value:g}"
    )
    cause = Cause("the decay of the weights' moving average differs", 0.9, "fitted to the averages' own values")
    return Finding("ema-decay", "optimizer", "fault", "introduced", step - 1, None, r, c, None, None, None, text, cause)


def _shown(decay: float, spread: float) -> float:
    """As many digits of a decay as its fit tells."""
    digits = int(np.clip(np.ceil(-np.log10(max(spread, 1e-6 * (1 - decay), 1e-9))), 2, 7))
    return round(decay, digits)


def _averages(trace: Trace) -> list[Average]:
    """The copies that are averages; one that is held under two names is one."""
    copies: dict[str, dict[int, ShadowEvent]] = defaultdict(dict)
    for event in trace.of(ShadowEvent):
        copies[event.name][event.step] = event
    found: list[Average] = []
    seen: set[tuple[str, ...]] = set()
    for events in copies.values():
        key = tuple(events[step].values.digest for step in sorted(events))
        average = _average(trace, events) if key not in seen else None
        seen.add(key)
        if average is not None:
            found.append(average)
    return found


def _average(trace: Trace, events: dict[int, ShadowEvent]) -> Average | None:
    """A copy's decays, None where it is no average of the weights."""
    decays, spread = {}, {}
    for step in sorted(events):
        if step - 1 not in events:
            continue
        old, new = (np.asarray(trace.array(events[n].values)) for n in (step - 1, step))
        fits = [fit(old, new, np.asarray(trace.array(events[n].weights))) for n in (step, step - 1)]
        found = next((result for result in fits if result is not None), None)
        if found is None:
            return None
        decays[step], spread[step] = found
    moving = any(0 < decay < 1 and spread[step] < 0.1 * (1 - decay) for step, decay in decays.items())
    return Average(events[min(events)], decays, spread) if moving else None


def fit(old: np.ndarray, new: np.ndarray, weights: np.ndarray) -> tuple[float, float] | None:
    """The decay with which a copy went towards the weights and its standard deviation, None where it did not."""
    if not (old.shape == new.shape == weights.shape and np.isfinite(new).all() and np.isfinite(weights).all()):
        return None
    way, gone = weights - old, new - old
    square = float(np.sum(way**2))
    if square == 0:
        return None
    part = float(np.sum(way * gone)) / square
    rounding = UNIT * rms(np.maximum(np.abs(old), np.abs(weights)))
    if rms(gone - part * way) > LEAST * rms(gone) + 2 * rounding or not -1e-3 < part < 1 + 1e-3:
        return None
    return 1 - part, rounding / np.sqrt(square) + 1e-7
