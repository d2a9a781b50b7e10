"""Parameters whose start no call was seen to draw: the script's construction runs again under other seeds."""

from __future__ import annotations

import numpy as np
import pytest
from traces import Captured

from parity.capture.reseed import other_seeds
from parity.model import InitialEvent

TORCH = """
import numpy as np
import torch
from torch import nn

torch.manual_seed(3)
rng = np.random.default_rng(11)
own = np.random.Generator(np.random.PCG64(5))
old = np.random.RandomState(7)
made = torch.Generator().manual_seed(4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.default_rng = nn.Parameter(torch.from_numpy(rng.normal(1, 0.05, (16, 32)).astype(np.float32)))
        self.generator = nn.Parameter(torch.from_numpy(own.uniform(-0.5, 0.5, (8, 4)).astype(np.float32)))
        self.state = nn.Parameter(torch.from_numpy(old.standard_normal((8, 4)).astype(np.float32)))
        self.torch = nn.Parameter(torch.tensor([float(torch.randn(1, generator=made)) for _ in range(12)]))
        self.table = nn.Parameter(torch.from_numpy(np.sin(np.arange(32, dtype=np.float32))))

    def forward(self, x):
        return x @ self.default_rng + self.generator.sum() + self.state.sum() + self.torch.sum() + self.table.sum()


net = Net()
print("constructed")
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(2):
    optimizer.zero_grad()
    net(torch.ones(3, 16)).square().mean().backward()
    optimizer.step()
"""

MINDSPORE = """
import numpy as np
import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

ms.set_seed(3)
rng = np.random.default_rng(11)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layer = nn.Dense(16, 32)
        self.layer.weight.set_data(Tensor(rng.normal(1, 0.05, (32, 16)).astype(np.float32)))
        self.op = Parameter(ops.randn(8, 5))
        self.table = Parameter(Tensor(np.sin(np.arange(32, dtype=np.float32))))

    def construct(self, x):
        return self.layer(x) + self.op.sum() + self.table.sum()


net = Net()
optimizer = nn.SGD(net.trainable_params(), learning_rate=0.1)
grad = ms.value_and_grad(lambda x: ops.square(net(x)).mean(), None, optimizer.parameters)
for _ in range(2):
    loss, gradients = grad(ops.ones((3, 16)))
    optimizer(gradients)
"""


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("torch"), TORCH, "--steps", "2")


@pytest.fixture(scope="module")
def mindspore_run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("mindspore"), MINDSPORE, "--steps", "2")


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [("default_rng", 1, 0.05), ("generator", 0, 12**-0.5), ("state", 0, 1), ("torch", 0, 1)],
)
def test_torch(torch_run: Captured, name: str, mean: float, std: float) -> None:
    _is_drawn(torch_run, name, mean, std)


@pytest.mark.parametrize(("name", "mean", "std"), [("layer.weight", 1, 0.05), ("op", 0, 1)])
def test_mindspore(mindspore_run: Captured, name: str, mean: float, std: float) -> None:
    _is_drawn(mindspore_run, name, mean, std)


def _is_drawn(run: Captured, name: str, mean: float, std: float) -> None:
    assert run.initialized(name).random
    found = run.initial_values(name)
    assert found.shape[0] > 2
    np.testing.assert_array_equal(found[0], run.own()[name].reshape(-1))
    assert found.mean() == pytest.approx(mean, abs=6 * std / found.size**0.5)
    assert found.std() == pytest.approx(std, rel=6 * found.size**-0.5)
    assert np.unique(found).size > 0.95 * found.size


def test_a_table_is_no_draw(torch_run: Captured, mindspore_run: Captured) -> None:
    for run in (torch_run, mindspore_run):
        assert not [e for e in run.trace.of(InitialEvent) if e.name == "table" and e.random]


def test_the_line_that_set_the_values_is_known(mindspore_run: Captured) -> None:
    assert mindspore_run.initialized("layer.weight").line == mindspore_run.line("set_data")


def test_the_script_prints_once(torch_run: Captured) -> None:
    assert torch_run.printed.count("constructed") == 1


def test_seeds_are_other_ones_for_a_time_only() -> None:
    def drawn() -> list[float]:
        np.random.seed(4)
        numbers = [np.random.random(), np.random.default_rng(4).random(), np.random.RandomState(4).rand()]
        generator = np.random.Generator(np.random.PCG64(seed=4))
        assert isinstance(generator.bit_generator, np.random.PCG64)
        return [*numbers, generator.random(), np.random.default_rng(np.random.PCG64(4)).random()]

    before = drawn()
    with other_seeds(1, []):
        first = drawn()
    with other_seeds(1, []):
        again = drawn()
    with other_seeds(2, []):
        second = drawn()
    assert again == first
    assert not set(first) & set(before) and not set(first) & set(second)
    assert drawn() == before
