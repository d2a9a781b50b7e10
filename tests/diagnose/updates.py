"""Updates that PyTorch's own optimizers make of random gradients, recorded as a trace would hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from parity.diagnose.optimization.rules import Rule, Updates, rule_of

SHAPES = {"fc.weight": (12, 20), "fc.bias": (12,), "norm.weight": (12,), "norm.bias": (12,)}
STEPS = 3

Groups = Callable[[dict[str, torch.nn.Parameter]], list[dict[str, Any]]]


def alike(parameters: dict[str, torch.nn.Parameter]) -> list[dict[str, Any]]:
    """All parameters in one group."""
    return [{"params": list(parameters.values())}]


def recorded(
    name: str,
    settings: dict[str, Any],
    rates: list[float] | None = None,
    groups: Groups = alike,
    dtype: torch.dtype = torch.float32,
    given: Callable[[torch.Tensor], torch.Tensor] = lambda gradient: gradient,
) -> Updates:
    """What an optimizer makes of the same weights and gradients, whatever its settings.

    Args:
        name: A class of `torch.optim`.
        settings: Its arguments.
        rates: The learning rate of each step; None for that of the settings.
        groups: The parameters in groups.
        dtype: The precision that it computes in.
        given: What is done to a gradient before the optimizer gets it, unseen.
    """
    generator = torch.Generator().manual_seed(3)
    parameters = {}
    for key, shape in SHAPES.items():
        values = 0.3 * torch.randn(shape, generator=generator) + (1.0 if key == "norm.weight" else 0.0)
        parameters[key] = torch.nn.Parameter((values if key != "norm.bias" else torch.zeros(shape)).to(dtype))
    optimizer = getattr(torch.optim, name)(groups(parameters), **settings)
    found: list[list[np.ndarray]] = [[], [], []]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rates[step] if rates is not None else group["lr"]
        gradients = [0.05 * torch.randn(shape, generator=generator) for shape in SHAPES.values()]
        for parameter, gradient in zip(parameters.values(), gradients, strict=True):
            parameter.grad = given(gradient.to(dtype))
        found[0].append(_flat(parameters.values()))
        found[1].append(_flat(gradients))
        optimizer.step()
        found[2].append(_flat(parameters.values()))
    owner = np.concatenate([np.full(int(np.prod(shape)), n) for n, shape in enumerate(SHAPES.values())])
    before, gradient, after = (np.array(part) for part in found)
    return Updates(list(SHAPES), owner, before, gradient, after, 2.0**-24)


def rule(name: str, settings: dict[str, Any], owner: np.ndarray, rates: list[float] | None = None) -> Rule:
    """What an optimizer of these arguments declares."""
    optimizer = getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(1))], **settings)
    group = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    steps = [{**group, "lr": rate} for rate in (rates or [group["lr"]] * STEPS)]
    found = rule_of(name, [[step] * len(SHAPES) for step in steps], owner)
    assert found is not None
    return found


def _flat(tensors: Any) -> np.ndarray:
    return np.concatenate([t.detach().numpy().astype(np.float64).reshape(-1) for t in tensors])
