"""What differs in an update is named, with its value; what is only rounding is not."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from updates import recorded, rule

from parity.diagnose.optimization.hypotheses import LIMIT, Explanation, explain, subtle
from parity.diagnose.optimization.rules import Updates, predicted

SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
NESTEROV = {**SGD, "nesterov": True}
ADAM = {"lr": 1e-3, "betas": (0.9, 0.98), "weight_decay": 0.1}


def found(name: str, settings: dict[str, Any], data: Updates, rates: list[float] | None = None) -> Explanation:
    explanation = explain(rule(name, settings, data.owner, rates), data)
    assert explanation is not None
    assert explanation.worst <= LIMIT
    return explanation


def fields(explanation: Explanation) -> list[str]:
    return [change.field for change in explanation.changes]


@pytest.mark.parametrize(
    ("name", "declared", "made", "field", "value"),
    [
        ("SGD", SGD, {**SGD, "momentum": 0.8}, "momentum", 0.8),
        ("SGD", SGD, {**SGD, "momentum": 0.0}, "momentum", 0.0),
        ("SGD", SGD, NESTEROV, "nesterov", True),
        ("SGD", NESTEROV, SGD, "nesterov", False),
        ("SGD", SGD, {**SGD, "dampening": 0.3}, "dampening", 0.3),
        ("Adam", ADAM, {**ADAM, "betas": (0.8, 0.98)}, "beta1", 0.8),
        ("AdamW", ADAM, {**ADAM, "betas": (0.9, 0.999)}, "beta2", 0.999),
        ("AdamW", ADAM, {**ADAM, "eps": 1e-4}, "eps", 1e-4),
        ("AdamW", ADAM, {**ADAM, "amsgrad": True}, "amsgrad", True),
        ("Adagrad", {"lr": 0.01}, {"lr": 0.01, "initial_accumulator_value": 0.1}, "start", 0.1),
        ("RMSprop", {"lr": 0.01}, {"lr": 0.01, "alpha": 0.9}, "beta2", 0.9),
        ("RMSprop", {"lr": 0.01}, {"lr": 0.01, "centered": True}, "centered", True),
        ("Adadelta", {"lr": 1.0}, {"lr": 1.0, "rho": 0.95}, "beta2", 0.95),
        ("Adadelta", {"lr": 1.0}, {"lr": 1.0, "eps": 1e-5}, "eps", 1e-5),
        ("Adamax", {"lr": 0.01}, {"lr": 0.01, "betas": (0.8, 0.999)}, "beta1", 0.8),
        ("NAdam", {"lr": 0.01}, {"lr": 0.01, "betas": (0.8, 0.999)}, "beta1", 0.8),
        ("NAdam", {"lr": 0.01}, {"lr": 0.01, "momentum_decay": 0.1}, "warming", 0.1),
        ("RAdam", {"lr": 0.01}, {"lr": 0.01, "betas": (0.8, 0.999)}, "beta1", 0.8),
        ("Rprop", {"lr": 0.01}, {"lr": 0.01, "etas": (0.5, 1.5)}, "grow", 1.5),
        ("Rprop", {"lr": 0.01}, {"lr": 0.01, "etas": (0.4, 1.2)}, "shrink", 0.4),
        ("ASGD", {"lr": 0.1, "lambd": 1e-4}, {"lr": 0.1, "lambd": 1e-2}, "pull", 1e-2),
    ],
)
def test_one_setting(name: str, declared: dict[str, Any], made: dict[str, Any], field: str, value: Any) -> None:
    explanation = found(name, declared, recorded(name, made))
    assert fields(explanation) == [field]
    assert getattr(explanation.rule, field) == pytest.approx(value, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("declared", "made", "family"),
    [("NAdam", "Adam", "adam"), ("RAdam", "Adam", "adam"), ("Adam", "NAdam", "nadam"), ("Adamax", "Adam", "adam")],
)
def test_the_rule_of_a_relative(declared: str, made: str, family: str) -> None:
    settings = {"lr": 0.01, "betas": (0.9, 0.999)}
    explanation = found(declared, settings, recorded(made, settings))
    assert fields(explanation) == ["family"]
    assert explanation.rule.family == family


def test_nesterov_in_adam_is_not_nadam() -> None:
    settings = {"lr": 0.01, "betas": (0.9, 0.999)}
    data = recorded("NAdam", settings)
    adam = msgspec.structs.replace(rule("Adam", settings, data.owner), nesterov=True, place="hat")
    made = data._replace(after=predicted(adam, data).astype(np.float32).astype(np.float64))
    explanation = found("NAdam", settings, made)
    assert "family" in fields(explanation)
    assert (explanation.rule.family, explanation.rule.nesterov) == ("adam", True)


def test_a_larger_learning_rate() -> None:
    explanation = found("SGD", SGD, recorded("SGD", {**SGD, "lr": 0.13}))
    assert fields(explanation) == ["rates"]
    np.testing.assert_allclose(explanation.rule.rates, 0.13, rtol=1e-5)


def test_a_late_schedule() -> None:
    explanation = found("SGD", SGD, recorded("SGD", SGD, [0.0, 0.05, 0.1]), [0.05, 0.1, 0.1])
    assert fields(explanation) == ["rates"]
    np.testing.assert_allclose(explanation.rule.rates[:, 0], [0.0, 0.05, 0.1], atol=1e-7)


def test_decay_that_leaves_out_some() -> None:
    def groups(parameters: dict[str, torch.nn.Parameter]) -> list[dict[str, Any]]:
        norms = [p for name, p in parameters.items() if name.startswith("norm")]
        rest = [p for name, p in parameters.items() if not name.startswith("norm")]
        return [{"params": rest}, {"params": norms, "weight_decay": 0.0}]

    data = recorded("SGD", SGD, groups=groups)
    explanation = found("SGD", SGD, data)
    assert fields(explanation) == ["weight_decay"]
    values = [explanation.rule.weight_decay[data.owner == k][0] for k in range(4)]
    np.testing.assert_allclose(values, [0.01, 0.01, 0.0, 0.0], atol=1e-5)


def test_coupled_decay_is_told_from_decoupled() -> None:
    explanation = found("AdamW", ADAM, recorded("Adam", ADAM))
    assert fields(explanation) == ["decoupled"]
    assert not explanation.rule.decoupled


def test_two_faults_at_once() -> None:
    explanation = found("SGD", SGD, recorded("SGD", {**SGD, "lr": 0.2, "weight_decay": 0.0}))
    assert sorted(fields(explanation)) == ["rates", "weight_decay"]
    np.testing.assert_allclose(explanation.rule.rates, 0.2, rtol=1e-4)
    np.testing.assert_allclose(explanation.rule.weight_decay, 0.0, atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), [("SGD", NESTEROV), ("Adam", ADAM), ("AdamW", ADAM)])
def test_the_declared_rule_needs_no_change(name: str, settings: dict[str, Any]) -> None:
    data = recorded(name, settings)
    assert found(name, settings, data).changes == ()
    assert subtle(rule(name, settings, data.owner), data) is None


def test_another_optimizer_is_not_explained() -> None:
    data = recorded("Rprop", {"lr": 0.01})
    assert explain(rule("SGD", SGD, data.owner), data) is None


def test_a_small_difference_of_the_learning_rate() -> None:
    declared = {**SGD, "lr": 1e-3}
    data = recorded("SGD", {**declared, "lr": 1.00015e-3}).only(np.array([0, 2]))  # of zeros, each value would show it
    assert found("SGD", declared, data).changes == ()
    explanation = subtle(rule("SGD", declared, data.owner), data)
    assert explanation is not None
    assert fields(explanation) == ["rates"]


def test_a_small_decay_that_no_single_value_shows() -> None:
    declared = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}
    data = recorded("SGD", {**declared, "weight_decay": 0.0})
    before = rule("SGD", declared, data.owner)
    nothing = explain(before, data)
    assert nothing is not None
    assert nothing.changes == ()
    explanation = subtle(before, data)
    assert explanation is not None
    assert fields(explanation) == ["weight_decay"]
    assert explanation.rule.weight_decay[data.owner == 2] == pytest.approx(0.0, abs=2e-5)


def test_a_learning_rate_rounded_to_float32_is_no_fault() -> None:
    data = recorded("SGD", {**SGD, "lr": float(np.float32(0.1))})
    before = rule("SGD", SGD, data.owner)
    assert found("SGD", SGD, data).changes == ()
    assert subtle(before, data) is None
