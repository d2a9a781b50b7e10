"""Which changes of an update rule explain the updates that were recorded: a search from the declared rule on.

A change is accepted where, with it, every parameter's updates are within rounding in every step. Changes without a
fitted number come before those with one, one change before two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from parity.diagnose.optimization.rules import Rule, Updates, allowed, predicted, residual, scores

LIMIT = 8.0
"""RMS units of rounding under which a rule explains an update: correct optimizers of MindSpore reach 3.1."""

DEPTH = 3
"""Changes that are combined at most."""

BEAM = 3
"""Partial explanations that are followed at each depth."""

ROUNDS = 3
"""How often numbers that were fitted one after the other are fitted again."""

REST = 0.01
"""What may be left of a difference that has one main cause, where no further change explains the rest."""

Make = Callable[[np.ndarray], Rule]


class Change(NamedTuple):
    """One change of a rule.

    Attributes:
        kind: Its slug.
        field: What it sets: an attribute of `Rule`, or `factors`, a multiple of the rates for each parameter.
        fitted: How many numbers it fits.
        small: No single value shows it, only all of them together.
    """

    kind: str
    field: str
    fitted: int
    small: bool = False


class Explanation(NamedTuple):
    """A rule that explains updates, and how it differs from the declared one.

    Attributes:
        changes: What was changed, in the order in which it explained most.
        rule: The rule.
        scores: RMS residual in units of rounding of each parameter in each step [T, K].
    """

    changes: tuple[Change, ...]
    rule: Rule
    scores: np.ndarray

    @property
    def worst(self) -> float:
        """The largest score."""
        return float(self.scores.max())

    @property
    def rank(self) -> float:
        """What partial explanations are compared by."""
        return float(np.log1p(self.scores).mean())

    @property
    def cost(self) -> tuple[float, int, float]:
        """What explanations are chosen by: changes (the place of Adam's epsilon is expected), fitted numbers, rest."""
        count = sum(0.5 if change.field == "place" else 1.0 for change in self.changes)
        return count, sum(change.fitted for change in self.changes), self.worst


def explain(rule: Rule, data: Updates) -> Explanation | None:
    """The simplest changes of a declared rule under which the recorded updates follow from it.

    Returns:
        None where no combination of known changes explains them. An explanation without changes says that the
        declared rule explains them as it is.
    """
    beam = [_tried((), variant, data) for variant in (rule, _rounded(rule))]
    null = min(found.worst for found in beam)
    for _ in range(DEPTH):
        good = [found for found in beam if found.worst <= LIMIT]
        if good:
            return min(good, key=lambda found: found.cost)
        wider = [wide for found in beam for wide in _wider(found, data)]
        beam = [found for found in wider if found.worst <= LIMIT] or sorted(
            [*wider, *beam], key=lambda found: found.rank
        )[:BEAM]
    good = [found for found in beam if found.worst <= max(LIMIT, REST * null)]
    return min(good, key=lambda found: found.cost) if good else None


SURE = 64.0
"""By how many squared units of noise a small change must improve the fit (t > 8)."""

LEAST_RATE = 5e-5
"""Relative differences of a learning rate that count; schedules computed in float32 are off by less."""


def subtle(rule: Rule, data: Updates) -> Explanation | None:
    """A small difference of learning rate or weight decay that no single value shows, only all of them together.

    Returns:
        None where there is none, or where the declared rule does not explain the updates at all.
    """
    base = min((_tried((), variant, data) for variant in (rule, _rounded(rule))), key=lambda found: found.worst)
    if base.worst > LIMIT:
        return None
    before = residual(base.rule, data) ** 2
    rates = _fitted(base.rule, "rates", data)
    after = residual(rates, data) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.nan_to_num(np.abs(rates.rates / base.rule.rates - 1)).max(1)
    if np.any(((before - after).sum(1) > SURE * _noise(after)) & (moved > LEAST_RATE)):
        return _tried((Change("learning-rate", "rates", len(before), True),), rates, data)
    decay = _fitted(base.rule, "weight_decay", data)
    after = residual(decay, data) ** 2
    gain = np.bincount(data.owner, (before - after).sum(0), len(data.names))[data.owner]
    moved = np.abs(decay.weight_decay - base.rule.weight_decay)
    enough = moved > 0.05 * np.maximum(np.abs(decay.weight_decay), np.abs(base.rule.weight_decay))
    sure = (gain > SURE * _noise(after)) & enough & (moved * rule.rates.max() > data.unit)
    if not sure.any():
        return None
    values = np.where(sure, decay.weight_decay, base.rule.weight_decay)
    chosen = msgspec.structs.replace(base.rule, weight_decay=values)
    return _tried((Change("weight-decay", "weight_decay", int(sure.sum()), True),), chosen, data)


def _noise(squares: np.ndarray) -> float:
    """The mean square of what rounding leaves; not less than it must be."""
    return max(float(squares.mean()), 0.1)


def _tried(changes: tuple[Change, ...], rule: Rule, data: Updates) -> Explanation:
    return Explanation(changes, rule, scores(rule, data))


def _rounded(rule: Rule) -> Rule:
    """With coefficients in float32, as kernels hold them: rounding, and no fault."""
    single = {name: float(np.float32(getattr(rule, name))) for name in ("momentum", "beta1", "beta2", "eps")}
    return msgspec.structs.replace(rule, single=True, **single)


def _wider(found: Explanation, data: Updates) -> Iterator[Explanation]:
    """An explanation with one more change, all numbers fitted anew."""
    known = {change.field for change in found.changes}
    for change, start in _changes(found.rule, data):
        if change.field in known or {change.field, *known} >= {"rates", "factors"}:
            continue
        changes, rule = (*found.changes, change), start
        numbers = [c for c in reversed(changes) if c.fitted]
        for _ in range(ROUNDS if len(numbers) > 1 else 1):
            for each in numbers:
                rule = _fitted(rule, each.field, data)
        yield _tried(changes, rule, data)


def _changes(rule: Rule, data: Updates) -> Iterator[tuple[Change, Rule]]:
    """Every known single change of a rule, with the values from which fits start."""
    replace = msgspec.structs.replace
    for change, fields in _toggles(rule):
        yield change, replace(rule, **fields)
    yield Change("learning-rate", "rates", len(data.before)), rule
    if len(data.names) > 1:
        yield Change("learning-rate", "factors", len(data.names)), rule
    yield Change("weight-decay", "weight_decay", len(data.names)), rule
    yield Change("weight-decay", "weight_decay", len(data.names) + 1), replace(rule, decoupled=not rule.decoupled)
    for kind, field, starts in _NUMBERS[rule.family]:
        for start in starts:
            yield Change(kind, field, 1), replace(rule, **{field: start})


def _toggles(rule: Rule) -> Iterator[tuple[Change, dict[str, object]]]:
    if rule.weight_decay.any():
        yield Change("weight-decay", "decoupled", 0), {"decoupled": not rule.decoupled}
    for other in _KIN.get(rule.family, ()):
        yield Change("optimizer-rule", "family", 0), {"family": other}
    if rule.family == "nadam":
        yield Change("optimizer-rule", "family", 0), {"family": "adam", "nesterov": True}
    if rule.momentum:
        yield Change("nesterov", "nesterov", 0), {"nesterov": not rule.nesterov}
        yield Change("momentum", "inside", 0), {"inside": not rule.inside}
    if rule.dampening:
        yield Change("dampening", "dampening", 0), {"dampening": 0.0}
    if rule.family == "adam":
        yield Change("bias-correction", "corrected", 0), {"corrected": not rule.corrected}
        yield Change("adam-epsilon", "place", 0), {"place": "hat"}
        yield Change("optimizer-eps", "place", 0), {"place": "root"}
        yield Change("amsgrad", "amsgrad", 0), {"amsgrad": not rule.amsgrad}
        yield Change("nesterov", "nesterov", 0), {"nesterov": not rule.nesterov}
    if rule.family == "rmsprop":
        yield Change("optimizer-eps", "place", 0), {"place": "root" if rule.place == "outside" else "outside"}
        yield Change("centered", "centered", 0), {"centered": not rule.centered}
    if rule.family in ("rmsprop", "adagrad"):
        for start in (0.0, 0.1, 1.0):
            if start != rule.start:
                yield Change("initial-accumulator-value", "start", 0), {"start": start}


_KIN = {
    "adam": ("nadam", "radam", "adamax"), "nadam": ("adam",), "radam": ("adam",), "adamax": ("adam",),
}  # fmt: skip
"""Families whose optimizers take the same settings, and may stand for one another."""

_NUMBERS: dict[str, list[tuple[str, str, tuple[float, ...]]]] = {
    "sgd": [("momentum", "momentum", (0.9, 0.1)), ("dampening", "dampening", (0.5,))],
    "adam": [
        ("betas", "beta1", (0.9, 0.5)), ("betas", "beta2", (0.999, 0.9)), ("optimizer-eps", "eps", (1e-8, 1e-5)),
    ],
    "rmsprop": [
        ("alpha", "beta2", (0.99, 0.9)), ("momentum", "momentum", (0.9, 0.1)),
        ("optimizer-eps", "eps", (1e-8, 1e-5)),
    ],
    "adagrad": [("optimizer-eps", "eps", (1e-10, 1e-7)), ("initial-accumulator-value", "start", (0.1,))],
    "adadelta": [("rho", "beta2", (0.9, 0.95)), ("optimizer-eps", "eps", (1e-6, 1e-8))],
    "adamax": [
        ("betas", "beta1", (0.9, 0.5)), ("betas", "beta2", (0.999, 0.9)), ("optimizer-eps", "eps", (1e-8, 1e-5)),
    ],
    "nadam": [
        ("betas", "beta1", (0.9, 0.5)), ("betas", "beta2", (0.999, 0.9)), ("optimizer-eps", "eps", (1e-8, 1e-5)),
        ("momentum-decay", "warming", (4e-3,)),
    ],
    "radam": [
        ("betas", "beta1", (0.9, 0.5)), ("betas", "beta2", (0.999, 0.9)), ("optimizer-eps", "eps", (1e-8, 1e-5)),
    ],
    "rprop": [("etas", "shrink", (0.5,)), ("etas", "grow", (1.2,))],
    "asgd": [("lambd", "pull", (1e-4, 1e-2)), ("alpha", "power", (0.75,))],
}  # fmt: skip
"""Numbers of a rule that are fitted, and where the fit starts."""

_LOGS = {"eps": (1.0, 0.0), "beta1": (-1.0, 1.0), "beta2": (-1.0, 1.0), "start": (1.0, 0.0)}
"""Numbers that are fitted by the logarithm of themselves or of their distance from 1."""


def _fitted(rule: Rule, field: str, data: Updates) -> Rule:
    """The rule with one of its numbers as it fits best, from its present value on."""
    replace = msgspec.structs.replace
    if field == "rates":
        base = np.where(rule.rates > 0, rule.rates, rule.rates.max() or 1.0)
        cell = np.repeat(np.arange(len(base))[:, None], base.shape[1], 1)
        make: Make = lambda x: replace(rule, rates=base * x[:, None])  # noqa: E731
        return make(_fit(make, np.ones(len(base)), cell, data, rounds=3))
    if field == "factors":
        make = lambda x: replace(rule, rates=rule.rates * x[data.owner])  # noqa: E731
        return make(_fit(make, np.ones(len(data.names)), _by_parameter(data), data, rounds=3))
    if field == "weight_decay":
        make = lambda x: replace(rule, weight_decay=x[data.owner])  # noqa: E731
        start = np.zeros(len(data.names))
        start[data.owner] = rule.weight_decay
        return make(_fit(make, start, _by_parameter(data), data, rounds=4 if rule.family == "sgd" else 12))
    return _fit_number(rule, field, data)


def _by_parameter(data: Updates) -> np.ndarray:
    return np.repeat(data.owner[None], len(data.before), 0)


def _fit_number(rule: Rule, field: str, data: Updates) -> Rule:
    sign, offset = _LOGS.get(field, (0.0, 0.0))
    start = float(getattr(rule, field))

    def make(x: np.ndarray) -> Rule:
        value = float(x[0]) if not sign else offset + sign * float(np.exp(np.clip(x[0], -60.0, 5.0)))
        return msgspec.structs.replace(rule, **{field: value})

    first = np.array([np.log(max(sign * (start - offset), 1e-20)) if sign else start])
    return make(_fit(make, first, np.zeros(data.before.shape, int), data, rounds=12))


def _fit(make: Make, start: np.ndarray, cell: np.ndarray, data: Updates, rounds: int) -> np.ndarray:
    """Gauss-Newton for numbers that do not interact: each one is fitted to the elements and steps of its own cell.

    Args:
        make: The rule with given numbers [C].
        start: Where they start [C].
        cell: Which number an element of a step is fitted by [T, N].
        data: What was recorded.
        rounds: Iterations.
    """
    size, flat = len(start), cell.reshape(-1)
    weight = 1 / allowed(data)

    def sums(values: np.ndarray) -> np.ndarray:
        good = np.where(np.isfinite(values), values, 0.0)
        return np.bincount(flat, good.reshape(-1), size)

    def misfit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        made = predicted(make(x), data)
        with np.errstate(all="ignore"):
            error = (data.after - made) * weight
            return made, sums(np.minimum(error**2, 1e30))

    x = np.array(start, np.float64)
    made, cost = misfit(x)
    for _ in range(rounds):
        step = 1e-4 * np.maximum(np.abs(x), 1e-3)
        with np.errstate(all="ignore"):
            slope = (predicted(make(x + step), data) - made) * weight / step[cell]
            error = (data.after - made) * weight
            curve = sums(slope**2)
            move = np.where(curve > 0, sums(slope * error) / np.where(curve > 0, curve, 1.0), 0.0)
        move = np.where(np.isfinite(move), move, 0.0)
        for _ in range(6):
            cost_new = misfit(x + move)[1]
            worse = cost_new > cost
            if not worse.any():
                break
            move = np.where(worse, move / 4, move)
        move = np.where(cost_new > cost, 0.0, move)
        x = x + move
        if not np.any(np.abs(move) > 1e-9 * np.maximum(np.abs(x), 1e-9)):
            break
        made, cost = misfit(x)
    return x
