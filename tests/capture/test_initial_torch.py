"""Random numbers followed into the parameters of a PyTorch script, and drawn again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from traces import Captured

from parity.model import InitialEvent

SCRIPT = """
import copy
import math

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.plain = nn.Linear(6, 8)
        self.scaled = nn.Parameter(torch.randn(40, 5) * 0.02 + 1)
        self.cut = nn.Parameter(torch.zeros(30, 30))
        nn.init.trunc_normal_(self.cut, std=0.5, a=-1, b=1)
        self.table = nn.Embedding(20, 6, padding_idx=3)
        self.square = nn.Linear(6, 6, bias=False)
        nn.init.orthogonal_(self.square.weight)
        self.zeroed = nn.Linear(6, 6)
        nn.init.zeros_(self.zeroed.weight)
        self.cell = nn.LSTM(6, 4)
        with torch.no_grad():
            self.cell.bias_ih_l0[4:8].fill_(1.0)
        self.twin = copy.deepcopy(self.plain)
        self.given = nn.Parameter(torch.from_numpy(np.arange(12, dtype=np.float32)))
        self.own = nn.Parameter(torch.empty(50))
        self.own.data = torch.empty(50).exponential_(generator=torch.Generator().manual_seed(3))
        self.loaded = nn.Linear(6, 2)
        self.loaded.load_state_dict({"weight": torch.ones(2, 6) / 3, "bias": torch.arange(2.0)})
        self.copied = nn.Linear(6, 8)
        self.copied.load_state_dict(copy.deepcopy(self.plain.state_dict()))
        self.apply(self.fill)

    def fill(self, module):
        if module is self.twin:
            module.weight.data.normal_(0, 0.3)
            module.weight.data.mul_(1 / math.sqrt(9))

    def forward(self, x):
        used = [p.sum() for p in (self.scaled, self.cut, self.given, self.own, *self.table.parameters())]
        used += [p.sum() for p in self.cell.parameters()]
        h = self.plain(x) + self.twin(x) + self.copied(x)
        return h.sum() + self.loaded(self.zeroed(self.square(x))).sum() + sum(used)


torch.manual_seed(7)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(2):
    optimizer.zero_grad()
    net(torch.randn(5, 6)).backward()
    optimizer.step()
    print("random", float(torch.rand(())))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("initial"), SCRIPT, "--steps", "2")


@pytest.mark.parametrize(
    ("name", "low", "high", "mean", "std"),
    [
        ("plain.weight", -(6**-0.5), 6**-0.5, 0, (1 / 18) ** 0.5),
        ("plain.bias", -(6**-0.5), 6**-0.5, 0, (1 / 18) ** 0.5),
        ("scaled", 0.88, 1.12, 1, 0.02),
        ("cut", -1, 1, 0, 0.5 * 0.8796),
        ("square.weight", -1, 1, 0, 6**-0.5),
        ("twin.weight", -0.6, 0.6, 0, 0.1),
        ("own", 0, 20, 1, 1),
        ("copied.weight", -(6**-0.5), 6**-0.5, 0, (1 / 18) ** 0.5),
    ],
)
def test_draws(run: Captured, name: str, low: float, high: float, mean: float, std: float) -> None:
    found = run.initial_values(name)
    assert found.size > 30000
    assert low <= found.min() and found.max() <= high
    assert found.mean() == pytest.approx(mean, abs=0.03 * std)
    assert found.std() == pytest.approx(std, rel=0.03)
    assert np.unique(found).size > 0.95 * found.size


def test_first_draw_is_the_parameters_own(run: Captured) -> None:
    np.testing.assert_array_equal(run.initial_values("plain.weight")[0], run.own()["plain.weight"].reshape(-1))


def test_rows_of_zeros_stay(run: Captured) -> None:
    found = run.initial_values("table.weight").reshape(-1, 20, 6)
    assert np.all(found[:, 3] == 0)
    assert np.std(found[:, 4]) == pytest.approx(1, rel=0.05)


def test_a_part_that_is_filled_with_a_constant_stays(run: Captured) -> None:
    found = run.initial_values("cell.bias_ih_l0")
    assert np.all(found[:, 4:8] == 1)
    assert np.abs(found[:, :4]).max() <= 0.5


def test_constants_are_not_random(run: Captured) -> None:
    names = {e.name for e in run.trace.of(InitialEvent)}
    assert not names & {"zeroed.weight", "given"}


def test_loaded_values_are_known(run: Captured) -> None:
    assert run.initialized("loaded.weight").loaded
    assert not run.initialized("loaded.weight").random
    assert run.initialized("copied.weight").random


def test_the_law_and_the_line(run: Captured) -> None:
    assert run.initialized("plain.bias").law == "uniform_(-0.408248, 0.408248)"
    assert run.initialized("plain.bias").line == run.line("self.plain = nn.Linear(6, 8)")
    assert run.initialized("cut").law == "trunc_normal_(0, 0.5, -1, 1)"
    assert run.initialized("table.weight").law == "normal_()"
    assert run.initialized("twin.weight").line == run.line("module.weight.data.mul_")
    assert run.initialized("twin.weight").law == "normal_(0, 0.3), mul_(0.333333)"


def test_random_streams_are_left_alone(run: Captured, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    plain = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = [float(line.split()[1]) for line in plain.stdout.splitlines()]
    assert run.numbers("random")[:1] == expected[:1]
