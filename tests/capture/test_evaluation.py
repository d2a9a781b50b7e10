"""The pass in evaluation mode that follows the last captured step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from traces import Captured

from parity.model import EVALUATION, BufferEvent, CallEvent, OpEvent

SCRIPT = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 6)
        self.bn = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        {check}
        return self.head(self.drop(torch.relu(self.bn(self.inner(x)))))


class WithLoss(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, y):
        return nn.functional.cross_entropy(self.net(x), y)


torch.manual_seed(0)
net = Net()
whole = WithLoss(net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range({steps}):
    whole.train()
    x, y = torch.randn(8, 4), torch.randint(0, 2, (8,))
    optimizer.zero_grad()
    whole(x, y).backward()
    optimizer.step()
print("training", float(net.training))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    text = SCRIPT.format(check="", steps=2)
    return Captured(tmp_path_factory.mktemp("evaluation"), text, "--steps", "3")


def test_the_model_is_called_in_evaluation_mode(run: Captured) -> None:
    assert run.trace.meta.evaluated
    assert run.trace.meta.steps == 2
    calls = run.trace.of(CallEvent, EVALUATION)
    assert [c.path for c in calls if c.parent is None] == [""]
    assert {c.path for c in calls} == {"", "inner", "bn", "drop", "head"}
    assert not any(c.training for c in calls)
    assert {c.phase for c in calls} == {"eval"}


def test_it_gets_the_last_batch_and_the_last_weights(run: Captured) -> None:
    (last,) = [c for c in run.trace.of(CallEvent, 1) if c.path == "" and len(c.inputs) == 1]
    (call,) = [c for c in run.trace.of(CallEvent, EVALUATION) if c.path == ""]
    x = run.array(call.inputs[0].ref)
    np.testing.assert_array_equal(x, run.array(last.inputs[0].ref))
    after = run.updated("after", 1)
    (buffers,) = run.trace.of(BufferEvent, 1)
    mean, variance = (run.array(buffers.values[f"bn.running_{name}"]) for name in ("mean", "var"))
    h = x @ after["inner.weight"].T + after["inner.bias"]
    h = (h - mean) / np.sqrt(variance + 1e-5) * after["bn.weight"] + after["bn.bias"]
    expected = np.maximum(h, 0) @ after["head.weight"].T + after["head.bias"]
    np.testing.assert_allclose(run.array(call.outputs[0].ref), expected, rtol=1e-4, atol=1e-6)


def test_training_is_told_from_it(run: Captured) -> None:
    assert {c.step for c in run.trace.of(CallEvent)} == {0, 1}
    assert {o.step for o in run.trace.of(OpEvent)} == {0, 1}
    assert len(run.trace.every(OpEvent)) > len(run.trace.of(OpEvent))
    assert run.numbers("training") == [1.0]


def test_a_model_that_refuses(tmp_path: Path) -> None:
    check = "assert self.training, 'only for training'"
    run = Captured(tmp_path, SCRIPT.format(check=check, steps=4), "--steps", "2")
    assert not run.trace.meta.evaluated
    assert run.trace.meta.steps == 2
    assert any("only for training" in note for note in run.trace.meta.notes)
