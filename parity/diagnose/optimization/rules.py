"""The update rules of optimizers in float64, and which change of a rule explains recorded updates.

Rules are said in PyTorch's terms (`torch.optim` 2.13, its documentation's pseudocode). They work elementwise, so that a
sample of each parameter's elements is enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

SAMPLE = 2048
"""Elements of a parameter that are looked at."""

FAMILIES = {
    "SGD": "sgd", "Adam": "adam", "AdamW": "adam", "RMSprop": "rmsprop", "Adagrad": "adagrad", "Adadelta": "adadelta",
    "Adamax": "adamax", "NAdam": "nadam", "RAdam": "radam", "Rprop": "rprop", "ASGD": "asgd",
}  # fmt: skip
"""Optimizers of PyTorch whose rule is known, and its family."""


SETTINGS = (
    "momentum", "dampening", "nesterov", "betas", "eps", "amsgrad", "alpha", "centered", "rho", "momentum_decay",
    "decoupled_weight_decay", "lambd", "etas", "step_sizes",
)  # fmt: skip
"""Settings of a parameter group, besides learning rate and weight decay, that its rule depends on."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How an optimizer updates. Arrays are per element ([N]) or per step and element ([T, N]).

    Attributes:
        family: One of the values of `FAMILIES`.
        rates: Learning rates [T, N].
        weight_decay: [N].
        decoupled: Decay is subtracted from the weight and not added to the gradient.
        inside: The learning rate is inside the momentum buffer.
        beta2: Also the only decay rate of RMSprop (alpha) and Adadelta (rho).
        corrected: Adam's bias correction.
        place: Where epsilon is added: `outside` the root, in the `root`, or `hat` (Adam: before the bias correction).
        start: What the sum of squares starts from.
        warming: How fast NAdam's momentum grows (momentum_decay).
        pull: ASGD's decay of weights (lambd), and `power`, that of its learning rate (alpha).
        shrink: By what Rprop divides its steps (etas), and `grow`, by what it multiplies them.
        least: Rprop's smallest step, and `most` its largest.
        single: Powers of coefficients are float32, as kernels hold them.
    """

    family: str
    rates: np.ndarray
    weight_decay: np.ndarray
    decoupled: bool = False
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    inside: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    corrected: bool = True
    place: str = "outside"
    amsgrad: bool = False
    centered: bool = False
    start: float = 0.0
    warming: float = 4e-3
    pull: float = 1e-4
    power: float = 0.75
    shrink: float = 0.5
    grow: float = 1.2
    least: float = 1e-6
    most: float = 50.0
    single: bool = False


class Updates(NamedTuple):
    """Recorded updates of an optimizer's parameters, their sampled elements side by side.

    Attributes:
        names: The parameters [K].
        owner: Which parameter an element belongs to [N].
        before: Weights before each step [T, N], float64.
        given: Gradients [T, N].
        after: Weights after each step [T, N].
        unit: The parameters' unit of rounding.
    """

    names: list[str]
    owner: np.ndarray
    before: np.ndarray
    given: np.ndarray
    after: np.ndarray
    unit: float

    def only(self, chosen: np.ndarray) -> Updates:
        """The parameters whose number is in `chosen`."""
        keep = np.isin(self.owner, chosen)
        place = np.searchsorted(chosen, self.owner[keep])
        return Updates(
            [self.names[k] for k in chosen], place, self.before[:, keep], self.given[:, keep], self.after[:, keep],
            self.unit,
        )  # fmt: skip


def rule_of(class_name: str, settings: list[list[dict[str, Any]]], owner: np.ndarray) -> Rule | None:
    """The rule that a PyTorch optimizer declares.

    Args:
        class_name: The optimizer's class.
        settings: For each step, each parameter's group [T][K].
        owner: Which parameter an element belongs to [N].

    Returns:
        None where the class is not known, or parameters differ in more than learning rate and weight decay.
    """
    family = FAMILIES.get(class_name)
    first = settings[0]
    if family is None or not first or any(g.get("maximize") or g.get("lr_decay") for g in first):
        return None
    if any(g.get(key) != first[0].get(key) for g in first for key in SETTINGS):
        return None
    group = first[0]
    betas = group.get("betas") or (0.9, 0.999)
    etas, sizes = group.get("etas") or (0.5, 1.2), group.get("step_sizes") or (1e-6, 50.0)
    second = {"rmsprop": "alpha", "adadelta": "rho"}.get(family)
    rates = np.array([[float(g["lr"]) for g in step] for step in settings])
    decay = np.array([float(g.get("weight_decay") or 0.0) for g in first])
    return Rule(
        family=family, rates=rates[:, owner], weight_decay=decay[owner],
        decoupled=class_name == "AdamW" or bool(group.get("decoupled_weight_decay")),
        momentum=float(group.get("momentum") or 0.0), dampening=float(group.get("dampening") or 0.0),
        nesterov=bool(group.get("nesterov")), beta1=float(betas[0]),
        beta2=float(group[second] if second else betas[1]), warming=float(group.get("momentum_decay", 4e-3)),
        pull=float(group.get("lambd") or 0.0), power=float(group.get("alpha") or 0.0),
        shrink=float(etas[0]), grow=float(etas[1]), least=float(sizes[0]), most=float(sizes[1]),
        eps=float(group.get("eps") or 0.0), amsgrad=bool(group.get("amsgrad")), centered=bool(group.get("centered")),
        start=float(group.get("initial_accumulator_value") or 0.0),
    )  # fmt: skip


def predicted(rule: Rule, data: Updates) -> np.ndarray:
    """The weights after each step [T, N]: each step starts from the recorded weights, state is the rule's own."""
    state: dict[str, np.ndarray] = {}
    made = []
    with np.errstate(all="ignore"):
        for step in range(len(data.before)):
            weight, rate = data.before[step], rule.rates[step]
            gradient = data.given[step]
            if rule.decoupled:
                weight = weight * (1 - rate * rule.weight_decay)
            else:
                gradient = gradient + rule.weight_decay * weight
            state["weight"] = weight
            made.append(weight - _DIRECTIONS[rule.family](rule, gradient, rate, step, state))
    return np.array(made)


def _sgd(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    return _with_momentum(rule, gradient, rate, step, state)


def _with_momentum(
    rule: Rule, direction: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]
) -> np.ndarray:
    if rule.momentum == 0.0:
        plain: np.ndarray = rate * direction
        return plain
    fresh = rate * direction if rule.inside else direction
    held = state.get("momentum")
    held = fresh if held is None else rule.momentum * held + (1 - rule.dampening) * fresh
    state["momentum"] = held
    used = fresh + rule.momentum * held if rule.nesterov else held
    moved: np.ndarray = used if rule.inside else rate * used
    return moved


def _adam(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    none = np.zeros_like(gradient)
    mean = state["mean"] = rule.beta1 * state.get("mean", none) + (1 - rule.beta1) * gradient
    square = state["square"] = rule.beta2 * state.get("square", none) + (1 - rule.beta2) * gradient**2
    if rule.amsgrad:
        square = state["most"] = np.maximum(state.get("most", none), square)
    one, two = (1 - _power(beta, step + 1, rule) if rule.corrected else 1.0 for beta in (rule.beta1, rule.beta2))
    if rule.nesterov:
        mean = rule.beta1 * mean + (1 - rule.beta1) * gradient
    if rule.place == "hat":
        moved: np.ndarray = rate * np.sqrt(two) / one * mean / (np.sqrt(square) + rule.eps)
        return moved
    moved = rate * mean / one / _root(square / two, rule)
    return moved


def _power(beta: float, times: int, rule: Rule) -> float:
    if not rule.single:
        return float(beta**times)
    product = np.float32(1.0)
    for _ in range(times):
        product = np.float32(product * np.float32(beta))
    return float(product)


def _rmsprop(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    square = state.get("square", np.full_like(gradient, rule.start))
    square = state["square"] = rule.beta2 * square + (1 - rule.beta2) * gradient**2
    if rule.centered:
        mean = rule.beta2 * state.get("mean", np.zeros_like(gradient)) + (1 - rule.beta2) * gradient
        state["mean"] = mean
        square = square - mean**2
    return _with_momentum(rule, gradient / _root(square, rule), rate, step, state)


def _adagrad(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    square = state["square"] = state.get("square", np.full_like(gradient, rule.start)) + gradient**2
    moved: np.ndarray = np.where(gradient == 0, 0.0, rate * gradient / _root(square, rule))
    return moved


def _adadelta(
    rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]
) -> np.ndarray:
    none = np.zeros_like(gradient)
    square = state["square"] = rule.beta2 * state.get("square", none) + (1 - rule.beta2) * gradient**2
    moves = state.get("moves", none)
    move = np.sqrt(moves + rule.eps) / np.sqrt(square + rule.eps) * gradient
    state["moves"] = rule.beta2 * moves + (1 - rule.beta2) * move**2
    moved: np.ndarray = rate * move
    return moved


def _adamax(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    none = np.zeros_like(gradient)
    mean = state["mean"] = rule.beta1 * state.get("mean", none) + (1 - rule.beta1) * gradient
    largest = state["largest"] = np.maximum(rule.beta2 * state.get("largest", none), np.abs(gradient) + rule.eps)
    correction = 1 - _power(rule.beta1, step + 1, rule) if rule.corrected else 1.0
    moved: np.ndarray = rate * mean / correction / largest
    return moved


def _nadam(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    none = np.zeros_like(gradient)
    mean = state["mean"] = rule.beta1 * state.get("mean", none) + (1 - rule.beta1) * gradient
    square = state["square"] = rule.beta2 * state.get("square", none) + (1 - rule.beta2) * gradient**2
    now, then = (rule.beta1 * (1 - 0.5 * 0.96 ** ((step + n) * rule.warming)) for n in (1, 2))
    product = state["product"] = state.get("product", np.ones(1)) * now
    root = _root(square / (1 - _power(rule.beta2, step + 1, rule)), rule)
    moved: np.ndarray = rate * ((1 - now) / (1 - product) * gradient + then / (1 - product * then) * mean) / root
    return moved


def _radam(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    none = np.zeros_like(gradient)
    mean = state["mean"] = rule.beta1 * state.get("mean", none) + (1 - rule.beta1) * gradient
    square = state["square"] = rule.beta2 * state.get("square", none) + (1 - rule.beta2) * gradient**2
    one, two = (_power(beta, step + 1, rule) for beta in (rule.beta1, rule.beta2))
    most = 2 / (1 - rule.beta2) - 1
    length = most - 2 * (step + 1) * two / (1 - two)
    moved: np.ndarray = rate * mean / (1 - one)
    if length > 5:
        rectified = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
        moved = moved * np.sqrt(rectified * (1 - two)) / (np.sqrt(square) + rule.eps)
    return moved


def _rprop(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    turned = gradient * state.get("last", np.zeros_like(gradient))
    factor = np.where(turned > 0, rule.grow, np.where(turned < 0, rule.shrink, 1.0))
    size = state["size"] = np.clip(state.get("size", rate) * factor, rule.least, rule.most)
    used = state["last"] = np.where(turned < 0, 0.0, gradient)
    moved: np.ndarray = np.sign(used) * size
    return moved


def _asgd(rule: Rule, gradient: np.ndarray, rate: np.ndarray, step: int, state: dict[str, np.ndarray]) -> np.ndarray:
    size = rate if step == 0 else rate / (1 + rule.pull * rate * step) ** rule.power
    moved: np.ndarray = size * (gradient + rule.pull * state["weight"])
    return moved


def _root(square: np.ndarray, rule: Rule) -> np.ndarray:
    root: np.ndarray = np.sqrt(square + rule.eps) if rule.place == "root" else np.sqrt(square) + rule.eps
    return root


_DIRECTIONS = {
    "sgd": _sgd, "adam": _adam, "rmsprop": _rmsprop, "adagrad": _adagrad, "adadelta": _adadelta, "adamax": _adamax,
    "nadam": _nadam, "radam": _radam, "rprop": _rprop, "asgd": _asgd,
}  # fmt: skip


def residual(rule: Rule, data: Updates) -> np.ndarray:
    """How far the recorded weights are from a rule's, in units of rounding of weight and update [T, N]."""
    made = predicted(rule, data)
    error: np.ndarray = (data.after - made) / allowed(data)
    return error


def allowed(data: Updates) -> np.ndarray:
    """The size of rounding at each recorded weight [T, N]: of the weight, and of the update's own computation."""
    update = np.abs(data.after - data.before)
    typical = np.sqrt(_means(update**2, data))[:, data.owner]
    size: np.ndarray = data.unit * (np.abs(data.before) + 4 * update + 4 * typical) + 1e-45
    return size


def _means(values: np.ndarray, data: Updates) -> np.ndarray:
    """Means over each parameter's elements, [T, N] to [T, K]."""
    count = np.bincount(data.owner, minlength=len(data.names))
    sums = np.array([np.bincount(data.owner, row, len(data.names)) for row in values])
    means: np.ndarray = sums / np.maximum(count, 1)
    return means


def scores(rule: Rule, data: Updates) -> np.ndarray:
    """The residual's RMS of each parameter in each step [T, K]; infinite where the rule has no finite answer."""
    error = residual(rule, data)
    error = np.where(np.isfinite(error), np.minimum(np.abs(error), 1e15), 1e15)
    found: np.ndarray = np.sqrt(_means(error**2, data))
    return found
