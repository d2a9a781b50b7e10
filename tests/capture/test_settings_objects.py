"""Settings that a script keeps in objects are read like its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from traces import Captured

SCRIPT = """
import dataclasses
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import nn


@dataclasses.dataclass
class Train:
    lr: float = 0.1
    sizes: tuple = (4, 8)
    name: str = "small"


class Settings(NamedTuple):
    momentum: float = 0.9


class Transition(NamedTuple):
    reward: float


class Config:
    decay = 0.01
    steps = 3


class Hyper:
    def __init__(self):
        self.width = 8


class Model(nn.Module):
    def __init__(self, params):
        super().__init__()
        self.depth = 2
        self.layer = nn.Linear(4, params.width)

    def forward(self, x):
        return self.layer(x)


def main(train, hyper):
    local_args = SimpleNamespace(clip=1.0)
    model_params = Model(hyper)
    last = Transition(0.5)
    optimizer = torch.optim.SGD(model_params.parameters(), lr=train.lr, momentum=Settings().momentum)
    for step in range(Config.steps):
        optimizer.zero_grad()
        model_params(torch.randn(5, 4)).sum().backward()
        optimizer.step()


torch.manual_seed(0)
main(Train(lr=0.05), Hyper())
"""


def test_objects_of_settings_are_read_and_others_are_not(tmp_path: Path) -> None:
    run = Captured(tmp_path / "run", SCRIPT, "--no-noise")
    found: dict[str, Any] = {o.type: o for o in run.trace.objects if o.kind == "config"}
    assert set(found) == {"Train", "SimpleNamespace", "Config", "Hyper"}
    assert found["Train"].arguments == {"lr": 0.05, "sizes": [4, 8], "name": "small"}
    assert found["Train"].given == ["lr"]
    assert found["SimpleNamespace"].arguments == {"clip": 1.0}
    assert found["Config"].arguments == {"decay": 0.01, "steps": 3}
    assert found["Hyper"].arguments == {"width": 8}
    assert found["Train"].name == "train"
