"""Copies of the weights that a script keeps are found by their shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from traces import Captured

from parity.model import ShadowEvent

SCRIPT = """
import copy

import torch
from torch import nn


class Average:
    def __init__(self, model):
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    def update(self, model):
        self.shadow = {name: 0.9 * self.shadow[name] + 0.1 * p.detach() for name, p in model.named_parameters()}


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
first = copy.deepcopy(model)
average = Average(model)
parameters = list(model.parameters())
for step in range(3):
    x, y = torch.randn(6, 4), torch.randint(0, 2, (6,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    average.update(model)
    print("first", float(average.shadow["0.weight"][0, 0]))
"""


def test_copies_are_found_and_the_model_is_none(tmp_path: Path) -> None:
    run = Captured(tmp_path / "run", SCRIPT, "--no-noise")
    events = run.trace.of(ShadowEvent)
    assert [(e.name, e.step) for e in events if e.name.startswith(("average", "first"))] == [
        (name, step) for step in range(3) for name in ("first", "average.shadow")
    ]
    assert not [e for e in events if e.name in ("model", "parameters", "optimizer")]
    shadow = [e for e in events if e.name == "average.shadow"]
    assert (shadow[0].class_name, shadow[0].line) == ("Average", run.line("average = Average"))
    values = [run.array(e.values) for e in shadow]
    weights = run.array(shadow[1].weights)
    np.testing.assert_allclose(values[1], 0.9 * values[0] + 0.1 * weights, atol=1e-7)
    np.testing.assert_allclose([v[0] for v in values[1:]], run.numbers("first")[:2], rtol=1e-5)
