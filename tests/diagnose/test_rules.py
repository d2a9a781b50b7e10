"""The update rules are those of PyTorch's optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from updates import recorded, rule

from parity.diagnose.optimization.rules import predicted, rule_of, scores

KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 1e-3, "betas": (0.8, 0.95), "eps": 1e-4, "amsgrad": True}),
    ("AdamW", {"lr": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 1e-3, "alpha": 0.9, "centered": True}),
    ("Adagrad", {"lr": 1e-2, "initial_accumulator_value": 0.1}),
    ("Adam", {"lr": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adadelta", {"lr": 1.0, "rho": 0.95, "weight_decay": 0.1}),
    ("Adamax", {"lr": 2e-3, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("NAdam", {"lr": 2e-3, "momentum_decay": 0.01, "weight_decay": 0.1}),
    ("NAdam", {"lr": 2e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 1e-3, "weight_decay": 0.1}),
    ("RAdam", {"lr": 1e-3, "betas": (0.9, 0.6), "eps": 1e-4}),
    ("Rprop", {"lr": 1e-2, "etas": (0.4, 1.3), "step_sizes": (1e-6, 1.2e-2)}),
    ("ASGD", {"lr": 0.1, "lambd": 1e-2, "alpha": 0.5, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "settings"), KNOWN)
def test_predicts_what_torch_does(name: str, settings: dict[str, Any]) -> None:
    data = recorded(name, settings, dtype=torch.float64)
    made = predicted(rule(name, settings, data.owner), data)
    single = name in ("NAdam", "ASGD")  # they keep a coefficient in float32 in any case
    np.testing.assert_allclose(made, data.after, rtol=1e-7 if single else 1e-12, atol=2e-9 if single else 1e-14)


@pytest.mark.parametrize(("name", "settings"), KNOWN)
def test_float32_is_within_rounding(name: str, settings: dict[str, Any]) -> None:
    data = recorded(name, settings)
    assert scores(rule(name, settings, data.owner), data).max() < 8


def test_a_rule_that_does_not_fit_scores_high() -> None:
    data = recorded("SGD", {"lr": 0.1, "momentum": 0.9})
    found = scores(rule("SGD", {"lr": 0.1, "momentum": 0.8}, data.owner), data)
    assert found[0].max() < 8  # the first step has no momentum yet
    assert found[1:].min() > 1000


def test_rates_by_step_and_group() -> None:
    settings = [[{"lr": 0.1 * step + group} for group in (1, 2)] for step in range(3)]
    found = rule_of("SGD", settings, np.array([0, 0, 1]))
    assert found is not None
    np.testing.assert_allclose(found.rates, [[1, 1, 2], [1.1, 1.1, 2.1], [1.2, 1.2, 2.2]])


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("LBFGS", [{"lr": 1.0}]),
        ("SGD", []),
        ("SGD", [{"lr": 0.1, "maximize": True}]),
        ("SGD", [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.8}]),
    ],
)
def test_no_rule(name: str, groups: list[dict[str, Any]]) -> None:
    assert rule_of(name, [groups] * 3, np.array([0])) is None
