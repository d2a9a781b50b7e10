"""The stage `optimizer`: what differs in an update, and in what happens to gradients before it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from parity.compare.faults import Judged
from parity.diagnose.names import at, numbers, patterns
from parity.diagnose.optimization.gradients import CLIP_EPSILON, ONE_SIDED, processing_cause
from parity.diagnose.optimization.hypotheses import LIMIT, Change, Explanation, explain, subtle
from parity.diagnose.optimization.recorded import Calls, calls_of, updates_of
from parity.diagnose.optimization.rules import FAMILIES, Rule, Updates, rule_of, scores
from parity.document import Cause, Finding, Place
from parity.tolerance import FACTOR
from parity.trace import Trace

ROUNDED = 1e-5
"""Relative difference of a setting that counts as rounding: schedules are computed in float32 on one side."""


def optimizer_findings(judged: list[Judged], reference: Trace, candidate: Trace) -> list[Finding]:
    """What differs at the optimizers: gradients that they are given, updates that they make.

    Args:
        judged: Every measured place.
        reference: The reference's trace.
        candidate: The candidate's trace.
    """
    missing = {i.record.path for i in judged if i.record.mismatch == "missing"}
    items = [j for j in judged if j.record.kind in ("given", "parameter") and j.record.path not in missing]
    found = []
    for number, calls in calls_of(reference, candidate).items():
        own = [j for j in items if j.record.call == number]
        given = [j for j in own if j.record.kind == "given"]
        if any(j.flagged for j in given):
            found.append(_given(given, calls, reference, candidate))
        updates = [j for j in own if j.record.kind == "parameter"]
        if updates:
            found += _updates(updates, calls, candidate)
    return found


def _given(items: list[Judged], calls: Calls, reference: Trace, candidate: Trace) -> Finding:
    flagged = [j for j in items if j.flagged]
    found = []
    for step in sorted({j.record.step for j in flagged}):
        here = [j for j in flagged if j.record.step == step]
        found.append((step, here, *processing_cause(here, calls, reference, candidate)))
    step, here, kind, cause = next((f for f in found if f[2] != CLIP_EPSILON), found[0])
    worst = max(here, key=lambda j: j.ratio)
    r, c = calls.places()
    total = sum(j.record.step == step for j in items)
    message = (
        f"the gradients that {at(c)} is given differ from those of {at(r)}, optimizer, step {step}: {cause.text}; "
        f"{len(here)} of {total} parameters, {numbers(worst)}"
    )
    finding = _finding(worst, kind, r, c, message, cause)
    if kind == ONE_SIDED:
        finding.severity, finding.status = "note", "propagated"
    if kind == CLIP_EPSILON:
        finding.severity = "warning"
    return finding


def _updates(items: list[Judged], calls: Calls, candidate: Trace) -> list[Finding]:
    flagged = [j for j in items if j.flagged]
    found: list[Finding] = []
    settled: set[int] = set()
    for data, settings in updates_of(calls, candidate):
        partners = {calls.partner[name] for name in data.names}
        own = [j for j in items if j.record.path in partners and j.record.step < len(data.before)]
        wrong = [j for j in own if j.flagged]
        rule = rule_of(calls.reference[0].class_name, settings, data.owner)
        if rule is None:
            continue
        if wrong and not (data.after - data.before).any():
            found.append(_still(wrong, calls))
            settled.update(map(id, flagged))
            continue
        explanation = explain(rule, data) if wrong else subtle(rule, data)
        if explanation is None:
            continue
        settled.update(map(id, wrong))  # by nothing, where coefficients in float32 are all that differs
        for change in explanation.changes:
            finding = _named(change, explanation, rule, data, calls, own)
            if finding is None:
                continue
            if not any((finding.kind, finding.severity) == (f.kind, f.severity) for f in found):
                found.append(finding)
            if finding.severity == "fault":
                settled.update(id(j) for j in flagged if j.record.path in partners)
    left = [j for j in flagged if id(j) not in settled]
    return found + ([_unexplained(left, items, calls)] if left else [])


def _finding(worst: Judged, kind: str, r: Place, c: Place, message: str, cause: Cause) -> Finding:
    error, noise = worst.relative
    finite = worst.ratio if worst.ratio != float("inf") else None
    return Finding(
        worst.record.mismatch or kind, "optimizer", "fault", "introduced", worst.record.step, None, r, c, error, noise,
        finite, message, cause,
    )  # fmt: skip


def _still(wrong: list[Judged], calls: Calls) -> Finding:
    """The optimizer is called, and no weight changes in any step."""
    step = min(j.record.step for j in wrong)
    worst = max((j for j in wrong if j.record.step == step), key=lambda j: j.ratio)
    r, c = calls.places()
    name = calls.candidate[0].class_name
    message = (
        f"{at(c)} does not update any weight where {at(r)} does, optimizer, step {step}: {len(wrong)} updates of "
        f"{len(calls.candidate)} steps are 0"
    )
    cause = Cause(
        f"{name} is called and the weights stay as they are (learning rate 0, or an optimizer that has no effect on "
        "this device: those of mindspore.mint.optim on the CPU)", 0.9,
    )  # fmt: skip
    return _finding(worst, "no-update", r, c, message, cause)


def _unexplained(left: list[Judged], items: list[Judged], calls: Calls) -> Finding:
    step = min(j.record.step for j in left)
    here = [j for j in left if j.record.step == step]
    worst = max(here, key=lambda j: j.ratio)
    r, c = calls.places()
    if all(map(_by_epsilon, left)):
        return _epsilon(worst, r, c)
    total = sum(j.record.step == step for j in items)
    classes = calls.candidate[0].class_name, calls.reference[0].class_name
    message = (
        f"the update by {at(c)} differs from that by {at(r)} for the same gradients and state, optimizer, step {step}: "
        f"{len(here)} of {total} parameters ({patterns([j.record.path for j in here])}), {numbers(worst)}"
    )
    times = _times(here)
    later = [[j for j in left if j.record.step == other] for other in {j.record.step for j in left}]
    if times is not None and all(_times(items) is not None for items in later):
        text = f"the learning rate differs at step {step}: the updates are {times:.4g} times the reference's"
        return _finding(worst, "lr-schedule" if step else "learning-rate", r, c, f"{message}; {text}", Cause(text, 0.7))
    for direction, (kind, words) in _ALONG.items():
        factor = _multiple(here, direction)
        if factor is not None:
            text = f"the candidate's update is the reference's and {factor:.4g} times {words}"
            return _finding(worst, kind, r, c, f"{message}; {text}", Cause(text, 0.7))
    sizes = worst.record.detail.split()
    size = f"; the updates' sizes are {sizes[1]} and {sizes[0]} (RMS, {worst.record.path})" if len(sizes) == 2 else ""
    return _finding(
        worst, "unexplained", r, c, message, Cause(f"{classes[0]} does not update as {classes[1]} does{size}", 0.3)
    )


_ALONG = {
    "weight": ("weight-decay", "the weight: weight decay differs"),
    "gradient": ("unexplained", "the gradient"),
    "sign": ("unexplained", "the sign of the update"),
}
"""What an error of an update may be a multiple of (the projections of its direction), its kind, and words for it."""


def _times(items: list[Judged]) -> float | None:
    """By how much all updates of a step are larger than the reference's, None where they differ otherwise."""
    return _multiple(items, "update")


def _multiple(items: list[Judged], direction: str) -> float | None:
    """Of what multiple of a direction all updates of a step are made, None where there is no single one."""
    known = [i.record.alternatives for i in items if f"{direction}-factor" in i.record.alternatives]
    factors = [k[f"{direction}-factor"] for k in known]
    if len(known) < len(items) or any(k[f"{direction}-rest"] > 1e-3 for k in known):
        return None
    even = max(factors) - min(factors) <= 1e-3 * max(map(abs, factors))
    return float(np.median(factors)) if even else None


def _by_epsilon(item: Judged) -> bool:
    other = item.record.alternatives.get("adam-epsilon")
    return other is not None and other <= max(FACTOR * item.floor, 0.05 * item.record.error)


def _epsilon(worst: Judged, r: Place, c: Place) -> Finding:
    message = (
        f"{at(c)} adds epsilon before the bias correction, {at(r)} after it: {numbers(worst)} at step "
        f"{worst.record.step}; the effect fades with the steps"
    )
    cause = Cause("the place of epsilon in Adam", 0.95, "the update equals the one with epsilon inside")
    finding = _finding(worst, "adam-epsilon", r, c, message, cause)
    finding.severity = "warning"
    return finding


def _named(
    change: Change, explanation: Explanation, declared: Rule, data: Updates, calls: Calls, items: list[Judged]
) -> Finding | None:
    """The finding of one change; None where the updates do not depend on it."""
    rule = explanation.rule
    field = "rates" if change.field == "factors" else change.field
    undone = {field: getattr(declared, field)}
    if field == "weight_decay":
        undone["decoupled"] = declared.decoupled
    affected = _affected(change, msgspec.structs.replace(rule, **undone), explanation, declared, data)
    if not affected.size or (change.fitted and _rounding(getattr(rule, field), getattr(declared, field))):
        return None
    without = scores(msgspec.structs.replace(rule, **undone), data)[:, affected]
    steps = np.flatnonzero((without > LIMIT).any(1))
    step = calls.candidate[int(steps[0]) if steps.size else 0].step
    partners = {calls.partner[data.names[k]] for k in affected}
    here = [j for j in items if j.record.path in partners and j.record.step == step] or items
    worst = max(here, key=lambda j: j.ratio)
    r, c = calls.places()
    if change.field == "place" and rule.place == "hat":
        return _epsilon(worst, r, c)
    kind, r.value, c.value, what = _DESCRIBE[change.field](rule, declared, data, affected)
    where = f"on {len(affected)} of {len(data.names)} parameters ({patterns([data.names[k] for k in affected])})"
    message = f"{at(c)} updates {what}, {where}, optimizer, step {step}: {numbers(worst)}; the reference's is {at(r)}"
    evidence = f"so changed, the reference's rule makes the candidate's updates of {len(calls.candidate)} steps"
    finding = _finding(worst, kind or change.kind, r, c, message, Cause(f"{what}, {where}", 0.95, evidence))
    if change.field == "decoupled" and declared.decoupled and calls.reference[0].class_name == "AdamW":
        finding.fix = "mindspore.experimental.optim.AdamW(...), which decouples the decay"
    return finding


def _rounding(fitted: object, declared: object) -> bool:
    """Whether a fitted number is the declared one, as it is when it was computed in float32."""
    a, b = (np.asarray(value, np.float64) for value in (fitted, declared))
    return bool(np.abs(a - b).max() <= ROUNDED * np.abs(b).max())


def _affected(change: Change, undone: Rule, explanation: Explanation, declared: Rule, data: Updates) -> np.ndarray:
    """The parameters whose updates a change is needed for, by their number."""
    if not change.small:
        return np.flatnonzero((scores(undone, data) > np.maximum(LIMIT, 4 * explanation.scores)).any(0))
    if change.field == "rates":
        return np.arange(len(data.names))
    other = explanation.rule.weight_decay != declared.weight_decay
    return np.flatnonzero(np.bincount(data.owner, other, len(data.names)))


Described = tuple[str, object, object, str]
"""Another kind or "", the reference's value, the candidate's, and both in words."""


def _rates(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
    most = int(np.argmax(declared.rates.max(0)))
    mine = [_short(x) for x in declared.rates[:, most]]
    theirs = [_short(x) if abs(x) > 1e-6 * max(mine) else 0.0 for x in rule.rates[:, most]]
    steps = [t for t, (a, b) in enumerate(zip(mine, theirs, strict=True)) if abs(a - b) > 1e-3 * max(abs(a), abs(b))]
    ratios = [b / a for a, b in zip(mine, theirs, strict=True) if a]
    if len(ratios) == len(mine) and max(ratios) - min(ratios) < 2e-3 * max(map(abs, ratios)):
        return (
            "learning-rate",
            mine[0],
            theirs[0],
            f"with learning rate {theirs[0]:g} where the reference has {mine[0]:g}",
        )
    text = f"with another learning-rate schedule: lr {_list(theirs)} where the reference has {_list(mine)}"
    if len(mine) > 1 and _equal(theirs[1:], mine[:-1]):
        text += " (one step late)"
    elif len(mine) > 1 and _equal(theirs[:-1], mine[1:]):
        text += " (one step early)"
    elif steps:
        text += f" (from step {steps[0]} on)"
    return "lr-schedule", mine, theirs, text


def _factors(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
    element = [int(np.flatnonzero(data.owner == k)[0]) for k in affected]
    mine = sorted({_short(declared.rates[0, n]) for n in element})
    theirs = sorted({_short(rule.rates[0, n]) for n in element})
    text = f"with learning rate {_list(theirs)} where the reference has {_list(mine)}"
    return "learning-rate", mine[0] if len(mine) == 1 else mine, theirs[0] if len(theirs) == 1 else theirs, text


def _decay(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
    element = [int(np.flatnonzero(data.owner == k)[0]) for k in affected]
    largest = float(max(np.abs(declared.weight_decay).max(), np.abs(rule.weight_decay[element]).max()))
    near = [0.0, *sorted(set(declared.weight_decay.tolist()))]
    mine = sorted({_short(declared.weight_decay[n]) for n in element})
    theirs = sorted({_snapped(rule.weight_decay[n], near, largest) for n in element})
    text = f"with weight decay {_list(theirs)} where the reference has {_list(mine)}"
    if rule.decoupled != declared.decoupled:
        text += f" ({_COUPLED[rule.decoupled]}, not {_COUPLED[declared.decoupled]})"
    return "", mine[0] if len(mine) == 1 else mine, theirs[0] if len(theirs) == 1 else theirs, text


_PLACES = {"outside": "outside the root", "root": "inside the root", "hat": "before the bias correction"}
_COUPLED = {True: "decoupled from the gradient, as in AdamW", False: "coupled: added to the gradient, as L2"}


def _decoupled(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
    mine, theirs = _COUPLED[declared.decoupled], _COUPLED[rule.decoupled]
    return "", mine, theirs, f"with weight decay {theirs}, where the reference's is {mine}"


def _number(field: str, name: str) -> Callable[[Rule, Rule, Updates, np.ndarray], Described]:
    def describe(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
        mine, theirs = _short(getattr(declared, field)), _short(getattr(rule, field))
        theirs = 0.0 if abs(theirs) < 1e-6 * max(1.0, abs(mine)) and field == "momentum" else theirs
        return "", mine, theirs, f"with {name} {theirs:g} where the reference has {mine:g}"

    return describe


def _switch(field: str, name: str) -> Callable[[Rule, Rule, Updates, np.ndarray], Described]:
    def describe(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
        mine, theirs = getattr(declared, field), getattr(rule, field)
        if field == "place":
            text = f"with {name} {_PLACES[theirs]}, where the reference has it {_PLACES[mine]}"
        else:
            text = (
                f"with {name}, where the reference has none" if theirs else f"without {name}, which the reference has"
            )
        return "", mine, theirs, text

    return describe


def _second(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
    name = {"rmsprop": "alpha", "adadelta": "rho"}.get(rule.family, "beta2 (betas)")
    return _number("beta2", name)(rule, declared, data, affected)


def _family(rule: Rule, declared: Rule, data: Updates, affected: np.ndarray) -> Described:
    names = {family: name for name, family in reversed(FAMILIES.items())}
    mine, theirs = names[declared.family], names[rule.family]
    how = f"{theirs} with Nesterov momentum" if rule.nesterov and not declared.nesterov else theirs
    return "", mine, how, f"by the rule of {how}, where the reference's is that of {mine}"


_DESCRIBE: dict[str, Callable[[Rule, Rule, Updates, np.ndarray], Described]] = {
    "rates": _rates,
    "factors": _factors,
    "weight_decay": _decay,
    "decoupled": _decoupled,
    "momentum": _number("momentum", "momentum"),
    "dampening": _number("dampening", "dampening"),
    "beta1": _number("beta1", "beta1 (betas)"),
    "beta2": _second,
    "warming": _number("warming", "momentum_decay"),
    "pull": _number("pull", "lambd"),
    "power": _number("power", "alpha"),
    "shrink": _number("shrink", "the first of etas"),
    "grow": _number("grow", "the second of etas"),
    "family": _family,
    "eps": _number("eps", "epsilon"),
    "start": _number("start", "an initial accumulator of"),
    "nesterov": _switch("nesterov", "Nesterov momentum"),
    "corrected": _switch("corrected", "bias correction"),
    "place": _switch("place", "epsilon"),
    "amsgrad": _switch("amsgrad", "amsgrad"),
    "centered": _switch("centered", "a centered second moment"),
    "inside": _switch("inside", "the learning rate inside the momentum buffer"),
}


def _short(value: float) -> float:
    """Four significant digits: what a fit can tell."""
    return float(f"{value:.4g}")


def _snapped(value: float, near: list[float], largest: float) -> float:
    """A fitted number as one of the likely ones, where it is as near as a fit comes."""
    best = min(near, key=lambda x: abs(x - value))
    return _short(best if abs(best - value) <= 0.02 * largest else float(f"{value:.2g}"))


def _list(values: list[float]) -> str:
    return ", ".join(f"{v:g}" for v in values) if len(values) < 5 else f"{_list(values[:4])}, ..."


def _equal(a: list[float], b: list[float]) -> bool:
    return all(abs(x - y) <= 2e-3 * max(abs(x), abs(y)) for x, y in zip(a, b, strict=True))
