"""What traces hold of optimizers, schedules, seeds and clipping, as both frameworks' scripts declare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from traces import Captured

from parity.capture.frameworks.describe import bound_arguments, constructor_of
from parity.diagnose.hyper.loaders import epochs_of
from parity.model import ObjectInfo, OptimizerEvent

TORCH = """
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(11)
model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
loader = DataLoader(TensorDataset(torch.randn(12, 4), torch.randint(0, 3, (12,))), batch_size=6)
optimizer = torch.optim.SGD([{"params": model[0].parameters(), "weight_decay": 0.1},
                             {"params": model[1].parameters(), "lr": 0.2}], lr=0.4, momentum=0.9)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4], gamma=0.5)
for epoch in range(9):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        clip_grad_norm_(model.parameters(), 1.5)
        optimizer.step()
    scheduler.step()
"""

MINDSPORE = """
import numpy as np
import mindspore as ms
from mindspore import nn, ops

ms.set_seed(11)
np.random.seed(12)
model = nn.SequentialCell(nn.Dense(4, 3), nn.LayerNorm((3,)))


class Halves(nn.learning_rate_schedule.LearningRateSchedule):
    def __init__(self, base, every):
        super().__init__()
        self.base = base
        self.every = every

    def construct(self, step):
        return self.base * 0.5 ** (step // self.every).astype(ms.float32)


optimizer = nn.Momentum(model.trainable_params(), learning_rate=Halves(0.4, every=2), momentum=0.9, weight_decay=0.1,
                        loss_scale=4.0)
rng = np.random.RandomState(0)
grad_fn = ms.value_and_grad(lambda x, y: 4 * ops.cross_entropy(model(x), y), None, optimizer.parameters)
for step in range(9):
    loss, grads = grad_fn(ms.Tensor(rng.randn(6, 4), ms.float32), ms.Tensor(rng.randint(0, 3, 6), ms.int32))
    grads = ops.clip_by_global_norm(grads, 1.5)
    optimizer(grads)
"""


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("torch"), TORCH, "--steps", "3")


@pytest.fixture(scope="module")
def mindspore_run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("mindspore"), MINDSPORE, "--steps", "3")


def objects(run: Captured, kind: str) -> list[ObjectInfo]:
    return [o for o in run.trace.objects if o.kind == kind]


def groups(run: Captured, key: str) -> list[list[Any]]:
    events: list[OptimizerEvent] = run.trace.of(OptimizerEvent)
    return [[group.get(key) for group in event.groups] for event in events]


def test_a_schedule_that_has_no_real_value_after_the_end(tmp_path: Path) -> None:
    script = TORCH.replace(
        "MultiStepLR(optimizer, milestones=[2, 4], gamma=0.5)", "LambdaLR(optimizer, lambda i: (1 - i / 5) ** 0.9)"
    )
    run = Captured(tmp_path, script, "--steps", "3")
    assert [len(plan.values) for plan in objects(run, "rates")] == [9, 9]


def test_recurrent_layers_tell_their_arguments_by_name() -> None:
    import mindspore
    import torch

    for kind, bias in ((torch.nn.GRU, "bias"), (mindspore.nn.LSTM, "has_bias")):
        constructor = constructor_of(kind, kind.__init__)
        arguments, given = bound_arguments(constructor, (4, 8, 2), {"batch_first": True}, lambda value: False)
        assert (arguments["num_layers"], arguments["bidirectional"], arguments[bias]) == (2, False, True)
        assert given == ["input_size", "hidden_size", "num_layers", "batch_first"]
    assert constructor_of(torch.nn.Linear, torch.nn.Linear.__init__) is torch.nn.Linear.__init__


class TestTorch:
    def test_optimizer(self, torch_run: Captured) -> None:
        (made,) = objects(torch_run, "optimizer")
        assert (made.type, made.name) == ("torch.optim.sgd.SGD", "optimizer")
        assert made.line == torch_run.line("optimizer = ")
        assert made.given == ["params", "lr", "momentum"]
        assert (made.arguments["momentum"], made.arguments["nesterov"]) == (0.9, False)
        assert made.code is not None
        assert made.code.startswith("torch.optim.SGD(")
        assert groups(torch_run, "weight_decay") == [[0.1, 0]] * 3

    def test_rates_of_each_step_and_of_those_to_come(self, torch_run: Captured) -> None:
        """An epoch has two steps: milestones at the steps 4 and 8."""
        assert groups(torch_run, "lr") == [[0.4, 0.2]] * 3
        first, second = objects(torch_run, "rates")
        assert (first.type, first.arguments["every"]) == ("MultiStepLR", 2)
        assert first.arguments["parameters"] == ["0.weight", "0.bias"]
        assert first.values[:8] == pytest.approx([0.4, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1])
        assert second.values[:3] == pytest.approx([0.2, 0.1, 0.1])

    def test_calls(self, torch_run: Captured) -> None:
        (seed,) = objects(torch_run, "seed")
        assert (seed.type, seed.arguments, seed.line) == ("manual_seed", {"seed": 11}, torch_run.line("manual_seed"))
        (clip,) = objects(torch_run, "clip")
        assert (clip.type, clip.arguments["max_norm"]) == ("clip_grad_norm_", 1.5)
        assert clip.line == torch_run.line("clip_grad_norm_(")

    def test_the_text_of_a_layers_call(self, torch_run: Captured) -> None:
        assert torch_run.layer("1").code == "nn.LayerNorm(3)"


class TestMindSpore:
    def test_effective_groups(self, mindspore_run: Captured) -> None:
        """gamma and beta are left out of the decay; what the loss scale multiplies is divided again."""
        (event, *_) = mindspore_run.trace.of(OptimizerEvent)
        decay = {n: g["weight_decay"] for g in event.groups for n in g["parameters"]}
        assert decay == pytest.approx({"0.weight": 0.1, "0.bias": 0.1, "1.gamma": 0.0, "1.beta": 0.0})
        assert [g.get("decay_skipped", False) for g in event.groups] == [False, True]

    def test_rates_of_each_step_and_of_those_to_come(self, mindspore_run: Captured) -> None:
        rates = groups(mindspore_run, "lr")
        assert [rate for rate, _ in rates] == pytest.approx([0.4, 0.4, 0.2])
        (plan,) = objects(mindspore_run, "rates")
        assert (plan.type, plan.arguments["base"], plan.given) == ("Halves", 0.4, ["base", "every"])
        assert plan.line == mindspore_run.line("optimizer = ")
        assert plan.values[:4] == pytest.approx([0.2, 0.1, 0.1, 0.05])

    def test_calls(self, mindspore_run: Captured) -> None:
        (seed,) = objects(mindspore_run, "seed")
        assert (seed.type, seed.arguments) == ("set_seed", {"seed": 11})
        (seed,) = objects(mindspore_run, "numpy-seed")
        assert (seed.arguments, seed.line) == ({"seed": 12}, mindspore_run.line("np.random.seed"))
        (clip,) = objects(mindspore_run, "clip")
        assert (clip.type, clip.arguments["clip_norm"]) == ("clip_by_global_norm", 1.5)


TRAINED = """
import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn

net = nn.Dense(4, 2)
loss = nn.MSELoss()
model = ms.Model(net, loss, nn.SGD(net.trainable_params(), 0.1))
rng = np.random.RandomState(0)
data = ds.NumpySlicesDataset((rng.randn(6, 4).astype(np.float32), rng.randn(6, 2).astype(np.float32)), shuffle=False)
{call}
"""


@pytest.mark.parametrize(
    ("call", "epochs"),
    [
        ("model.train(5, data.batch(2), dataset_sink_mode=False)", 5),
        ("for epoch in range(3):\n    model.train(1, data.batch(2), dataset_sink_mode=False)", None),
    ],
)
def test_epochs_of_a_model(tmp_path: Path, call: str, epochs: int | None) -> None:
    captured = Captured(tmp_path, TRAINED.format(call=call), "--no-noise", "--steps", "2")
    found = epochs_of(captured.trace)
    assert (found.number if found is not None else None) == epochs
    if found is not None:
        assert found.info.line == captured.line("model.train(")
