"""Learning rates over the captured steps, and as the schedules would have gone on."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

from parity.diagnose.hyper.provenance import configurations, origin, rewritten, shown, tidy
from parity.diagnose.hyper.settings import Side, at, declared
from parity.diagnose.stage import Context
from parity.document import Cause, Finding, Place
from parity.model import ObjectInfo
from parity.tolerance import FACTOR
from parity.words import some

_SAME = 1e-5
"""Rates count as equal within this part of the largest: schedules are computed in float32 on one side."""

_ENDS = ("total_steps", "T_max", "total_iters", "decay_steps", "total_step", "max_steps", "num_training_steps", "total")
"""Arguments that say after how many steps or epochs a schedule has done its work."""


SHOWN = 8
"""Captured steps whose rates are all shown; of more, those around the first difference."""


class _Rates(NamedTuple):
    """One parameter's rates: captured, further ones by its schedule, and the step at which that ends, if known."""

    captured: list[float]
    planned: list[float]
    schedule: ObjectInfo | None
    end: int | None


def compared_rates(context: Context, mine: Side, theirs: Side, pairs: list[tuple[str, str]]) -> list[Finding]:
    """One finding for each pair of optimizers whose rates differ, now or later in the run."""
    steps = min(context.reference.meta.steps, context.candidate.meta.steps)
    differing: dict[tuple[int, int], list[tuple[str, str, _Rates, _Rates, int]]] = defaultdict(list)
    lost: dict[tuple[int, int], Finding] = {}
    held: Counter[tuple[int, int]] = Counter()
    for r, c in pairs:
        key = mine.steps[0][r].event.index, theirs.steps[0][c].event.index
        held[key] += 1
        one, other = _rates(mine, r, steps), _rates(theirs, c, steps)
        if one is None or other is None:
            continue
        first = _first_difference(one, other)
        if first is not None:
            differing[key].append((r, c, one, other, first))
        elif one.schedule is not None and other.schedule is None and key not in lost and _varies(one):
            lost[key] = _one_sided(mine, theirs, r, c, one)
    findings = [
        _finding(context, mine, theirs, items, len(pairs), len(items) == held[key]) for key, items in differing.items()
    ]
    return findings + [finding for key, finding in lost.items() if key not in differing]


def _rates(side: Side, name: str, steps: int) -> _Rates | None:
    captured = [side.steps[s][name].group.get("lr") if name in side.steps[s] else None for s in range(steps)]
    if not all(isinstance(v, (int, float)) for v in captured):
        return None
    values = [float(v) for v in captured if v is not None]
    owner = side.steps[0][name].event.name
    plans = [o for o in side.trace.objects if o.kind == "rates" and o.name == owner]
    plan = next((o for o in plans if name in o.arguments.get("parameters", ())), None)
    if plan is None or side.trace.meta.steps != steps:
        return _Rates(values, [], plan, None)
    return _Rates(values, plan.values, plan, _end(plan, steps))


def _end(plan: ObjectInfo, done: int) -> int | None:
    """The step after which a schedule has nothing more to say, None where it does not tell."""
    if plan.type in ("list", "OneCycleLR"):
        return done + len(plan.values)
    every = int(plan.arguments.get("every", 1))
    known = [v for k in _ENDS if isinstance(v := plan.arguments.get(k), int) and not isinstance(v, bool) and v > 0]
    milestones = plan.arguments.get("milestones", plan.arguments.get("milestone"))
    if isinstance(milestones, list) and milestones and all(isinstance(m, int) for m in milestones):
        known.append(max(milestones) + 1)
    return max(known) * every if known else None


def _comparable(one: _Rates, other: _Rates) -> tuple[list[float], list[float]]:
    """Both sides' rates up to the step at which the first schedule ends; only the captured ones where none tells."""
    ends = [r.end for r in (one, other) if r.end is not None]
    a, b = one.captured + one.planned, other.captured + other.planned
    count = min(len(a), len(b), max(min(ends), len(one.captured)) if ends else len(one.captured))
    return a[:count], b[:count]


def _first_difference(one: _Rates, other: _Rates) -> int | None:
    """The first step whose rates differ."""
    a, b = _comparable(one, other)
    peak = max([abs(v) for v in (*a, *b)], default=0.0)
    return next((i for i, (p, q) in enumerate(zip(a, b, strict=True)) if abs(p - q) > _SAME * peak), None)


def _varies(rates: _Rates) -> bool:
    values = rates.captured + rates.planned[: rates.end]
    return rates.end is not None and max(values) - min(values) > 1e-3 * max(values)


def _finding(
    context: Context, mine: Side, theirs: Side, items: list[tuple[str, str, _Rates, _Rates, int]], total: int,
    whole: bool,
) -> Finding:  # fmt: skip
    """What is said of two optimizers; `whole` where this is so of all that they hold, `total` are all parameters."""
    r, c, one, other, first = min(items, key=lambda item: item[4])
    events = mine.steps[0][r].event, theirs.steps[0][c].event
    infos = one.schedule or mine.info(events[0]), other.schedule or theirs.info(events[1])
    values = [[tidy(v) for v in x.captured] for x in (one, other)]
    constant = all(len(set(v)) == 1 for v in values) and not one.planned and not other.planned
    if first >= len(one.captured):
        values = [[tidy(v) for v in (x.captured + x.planned)[first : first + 3]] for x in (one, other)]
    places = [
        Place(e.name, i.file if i else e.file, i.line if i else e.line, v[0] if constant else v)
        for e, i, v in zip(events, infos, values, strict=True)
    ]
    part = f" for {len(items)} of {total} parameters" if len(items) < total else ""
    if constant:
        said = [f"{shown(v[0])} ({_origin(side, i)})" for v, side, i in zip(values, (mine, theirs), infos, strict=True)]
        message = f"{at(places[1])}: the learning rate is {said[1]}, where {at(places[0])} has {said[0]}{part}"
        finding = declared("learning-rate", (places[0], places[1]), message, Cause("another learning rate", 0.95))
        info = theirs.info(events[1])
        name = "lr" if info is None or "lr" in info.arguments else "learning_rate"
        if info is not None and whole:
            finding.fix = rewritten(info.code, list(info.arguments), f"{name}={shown(values[0][0])}")
        elif not whole:
            names = some([item[1] for item in items])
            finding.fix = f'"lr": {shown(values[0][0])} in the parameter group of {names}'
    else:
        begin = first if first >= len(one.captured) else 0
        if first < len(one.captured) > SHOWN:
            begin = max(0, first - 1)
            values = [v[begin : begin + 4] for v in values]
            places[0].value, places[1].value = values
        steps = f"{begin} to {begin + len(values[0]) - 1}"
        message = (
            f"{at(places[1])}: the learning rate in steps {steps} is {_list(values[1])}, where {at(places[0])} has "
            f"{_list(values[0])}{part}"
        )
        why = _why(one, other)
        finding = declared("lr-schedule", (places[0], places[1]), message, Cause(why, 0.9))
        if "one step" in why:
            finding.fix = f"evaluate the schedule at step {'+' if 'late' in why else '-'} 1"
    finding.step = first
    finding.severity = "warning" if _compensated(context, items) else "fault"
    return finding


def _origin(side: Side, info: ObjectInfo | None) -> str:
    if info is None:
        return "set in the script"
    name = next((n for n in ("lr", "learning_rate") if n in info.arguments), "")
    return origin(info, name, side.trace.meta.framework, configurations(side.trace))


def _list(values: list[Any]) -> str:
    return ", ".join(f"{v:.6g}" for v in values)


def _why(one: _Rates, other: _Rates) -> str:
    """What the two schedules have to do with each other: a shift by one step, a factor, or neither."""
    a, b = _comparable(one, other)
    peak = max(map(abs, (*a, *b)), default=0.0)
    differing = [i for i in range(len(a)) if abs(a[i] - b[i]) > _SAME * peak]
    for text, shift in (("late", -1), ("early", 1)):
        moved = [(b[i], a[i + shift]) for i in differing if 0 <= i + shift < len(a)]
        if moved and all(abs(p - q) <= _SAME * peak for p, q in moved):
            return (
                f"the candidate's learning rate schedule is one step {text}: where they differ it has at step k what "
                f"the reference has at step k {'-' if shift < 0 else '+'} 1"
            )
    factors = {round(q / p, 5) for p, q in zip(a, b, strict=True) if p}
    if len(factors) == 1 and len(a) > 1:
        return f"the candidate's learning rates are {factors.pop():g} times the reference's"
    return "the learning rate schedules differ"


def _compensated(context: Context, items: list[tuple[str, str, _Rates, _Rates, int]]) -> bool:
    """Whether the updates agree although rates differ so much that it must show."""
    differing = {r: (one, other) for r, _, one, other, _ in items}
    seen = 0
    for item in context.judged:
        record = item.record
        if record.kind != "parameter" or record.path not in differing:
            continue
        one, other = differing[record.path]
        if record.step >= len(one.captured):
            continue
        a, b = one.captured[record.step], other.captured[record.step]
        if a == b:
            continue
        if item.flagged:
            return False
        size = max([0.0, *(float(word) for word in record.detail.split())])
        seen += size * abs(a - b) / max(abs(a), abs(b)) > 4 * FACTOR * item.floor
    return seen > 0


def _one_sided(mine: Side, theirs: Side, r: str, c: str, rates: _Rates) -> Finding:
    schedule = rates.schedule
    assert schedule is not None
    event, other = mine.steps[0][r].event, theirs.steps[0][c].event
    place = Place(event.name, schedule.file, schedule.line, schedule.type)
    message = (
        f"{at(place)} follows {schedule.type}, which changes the learning rate later in the run; the candidate's "
        f"{at(theirs.place(other))} was not seen to have a schedule"
    )
    finding = declared("lr-schedule", (place, theirs.place(other)), message, Cause("a schedule on one side only", 0.5))
    finding.severity = "warning"
    return finding
