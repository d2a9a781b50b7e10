"""Metric objects are followed: their inputs, their answers, and nothing of the script is changed by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from traces import Captured

from parity.model import MetricEvent

OWN = """
import torch
from torch import nn


class Base:
    def update(self, outputs, labels):
        self.hits += int((outputs.argmax(1) == labels).sum())
        self.total += len(labels)


class Accuracy(Base):
    def __init__(self, scale=1.0):
        self.scale = scale
        self.reset()

    def reset(self):
        self.hits = self.total = 0

    def compute(self):
        return {"accuracy": self.scale * self.hits / self.total}


class Average:
    def update(self, value):
        self.value = value


torch.manual_seed(0)
model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
accuracy, average = Accuracy(scale=2.0), Average()
for step in range(2):
    accuracy.reset()
    for _ in range(2):
        x, y = torch.randn(6, 4), torch.randint(0, 2, (6,))
        with torch.no_grad():
            accuracy.update(model(x), y)
    print("accuracy", accuracy.compute()["accuracy"])
    average.update(3.0)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
"""

LIBRARY = """
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

ms.set_seed(0)
net = nn.Dense(4, 2)
optimizer = nn.SGD(net.trainable_params(), learning_rate=0.1)
x, y = np.random.RandomState(0).randn(12, 4).astype(np.float32), (np.arange(12) % 2).astype(np.int32)
dataset = ms.dataset.NumpySlicesDataset((x, y), shuffle=False).batch(6)
loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
model = ms.train.Model(net, loss, optimizer, metrics={"f1": ms.train.F1(), "loss": ms.train.Loss()})
model.train(1, dataset, dataset_sink_mode=False)
result = model.eval(dataset, dataset_sink_mode=False)
print("f1", float(result["f1"][0]))
print("loss", float(result["loss"]))
"""


def metrics(run: Captured) -> dict[str, list[MetricEvent]]:
    found: dict[str, list[MetricEvent]] = {}
    for event in run.trace.of(MetricEvent):
        found.setdefault(event.class_name, []).append(event)
    return found


def test_a_class_of_the_script(tmp_path: Path) -> None:
    run = Captured(tmp_path / "run", OWN, "--no-noise")
    found = metrics(run)
    assert list(found) == ["Accuracy"]
    first, second = found["Accuracy"]
    assert (first.step, second.step, first.name, first.library) == (0, 1, "accuracy", False)
    assert first.arguments == {"scale": 2.0}
    assert [ref.shape for ref in second.inputs] == [(12, 2), (12,)]
    logits, labels = (run.array(ref) for ref in second.inputs)
    expected = 2 * float((logits.argmax(1) == labels).mean())
    assert run.array(second.values["accuracy"]) == pytest.approx(expected)
    assert run.numbers("accuracy")[1] == pytest.approx(expected)
    assert first.line == run.line('print("accuracy"')


def test_the_metrics_of_a_model_of_mindspore(tmp_path: Path) -> None:
    run = Captured(tmp_path / "run", LIBRARY)
    found = metrics(run)
    assert sorted(found) == ["F1", "Loss"]
    (f1,), (loss,) = found["F1"], found["Loss"]
    assert f1.library and f1.step == 2
    assert [ref.shape for ref in f1.inputs] == [(12, 2), (12,)]
    np.testing.assert_allclose(run.array(f1.values[""])[0], run.numbers("f1")[0], rtol=1e-5)
    np.testing.assert_allclose(run.array(loss.values[""]), run.numbers("loss")[0], rtol=1e-5)
    assert loss.line == run.line("result = model.eval")
