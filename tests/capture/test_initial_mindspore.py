"""Initializers and NumPy's draws known again in the parameters of a MindSpore script, and drawn again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from traces import Captured

from parity.model import InitialEvent

SCRIPT = """
import numpy as np
import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import HeUniform, Normal, Uniform, initializer


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.plain = nn.Dense(6, 8)
        self.table = nn.Embedding(20, 6, padding_idx=3)
        self.set = nn.Dense(6, 8, bias_init="zeros")
        self.set.weight.set_data(initializer(Normal(0.5), self.set.weight.shape))
        self.smaller = nn.Dense(6, 8)
        self.smaller.weight.set_data(self.smaller.weight * 0.25)
        self.cell = nn.LSTM(6, 4)
        self.array = Parameter(Tensor((np.random.randn(8, 5) * 0.02 + 1).astype(np.float32)))
        self.op = Parameter(ops.randn(8, 5))
        self.given = Parameter(Tensor(np.arange(12, dtype=np.float32)))
        loaded = nn.Dense(6, 2)
        ms.load_param_into_net(loaded, {"weight": Parameter(ops.ones((2, 6)) / 3, name="weight")})
        self.loaded = loaded
        self.tall = nn.Dense(3, 12)
        self.wide = nn.Dense(12, 3)

    def construct(self, x):
        used = [p.sum() for p in (self.array, self.op, self.given, self.table.embedding_table)]
        h = self.plain(x) + self.set(x) + self.smaller(x)
        h = h.sum() + self.loaded(x).sum() + self.wide(self.tall(x[:, :3])).sum() + sum(used)
        return h + self.cell(x.expand_dims(0))[0].sum()


ms.set_seed(7)
net = Net()
optimizer = nn.SGD(net.trainable_params(), learning_rate=0.1)
grad = ms.value_and_grad(net, None, optimizer.parameters)
net.set_train()
for step in range(2):
    x = Tensor(np.random.randn(5, 6).astype(np.float32))
    loss, gradients = grad(x)
    print("random", np.random.rand())
    optimizer(gradients)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("initial"), SCRIPT, "--steps", "2")


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("plain.weight", 0, (1 / 18) ** 0.5),
        ("plain.bias", 0, (1 / 18) ** 0.5),
        ("set.weight", 0, 0.5),
        ("tall.weight", 0, (1 / 9) ** 0.5),
        ("wide.weight", 0, (1 / 36) ** 0.5),
        ("smaller.weight", 0, (1 / 18) ** 0.5 / 4),
        ("array", 1, 0.02),
        ("cell.weight_ih_l0", 0, (1 / 12) ** 0.5),
    ],
)
def test_draws(run: Captured, name: str, mean: float, std: float) -> None:
    found = run.initial_values(name)
    assert found.size > 30000
    assert found.mean() == pytest.approx(mean, abs=0.03 * std)
    assert found.std() == pytest.approx(std, rel=0.03)
    assert np.unique(found).size > 0.95 * found.size


def test_first_draw_is_the_parameters_own(run: Captured) -> None:
    np.testing.assert_array_equal(run.initial_values("array")[0], run.own()["array"].reshape(-1))


def test_rows_of_zeros_stay(run: Captured) -> None:
    found = run.initial_values("table.embedding_table").reshape(-1, 20, 6)
    assert np.all(found[:, 3] == 0)
    assert np.std(found[:, 4]) == pytest.approx(0.01, rel=0.05)


def test_an_op_is_known_and_drawn_by_another_construction(run: Captured) -> None:
    assert run.initialized("op").random
    assert run.initialized("op").law == "ops.randn"
    assert run.initial_values("op").std() == pytest.approx(1, rel=0.05)


def test_constants_are_not_random(run: Captured) -> None:
    names = {e.name for e in run.trace.of(InitialEvent)}
    assert not names & {"given", "set.bias"}


def test_loaded_values_are_known(run: Captured) -> None:
    assert run.initialized("loaded.weight").loaded
    assert not run.initialized("loaded.bias").loaded


def test_the_law_and_the_line(run: Captured) -> None:
    assert run.initialized("set.weight").law == "Normal(sigma=0.5, mean=0.0)"
    assert run.initialized("set.weight").line == run.line("initializer(Normal(0.5)")
    assert run.initialized("table.embedding_table").line == run.line("nn.Embedding(")


def test_random_streams_are_left_alone(run: Captured, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    plain = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = [float(line.split()[1]) for line in plain.stdout.splitlines() if line.startswith("random")]
    assert run.numbers("random") == expected
