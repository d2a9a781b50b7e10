"""A candidate that starts from its reference: weights, batches and masks, and what it cannot take over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from traces import Captured

from parity.model import BatchEvent, BufferEvent, LossEvent, RandomEvent

REFERENCE = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.RandomState(0)
X, Y = torch.from_numpy(rng.randn(16, 5).astype(np.float32)), torch.from_numpy(rng.randint(0, 3, 16))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.bn = nn.BatchNorm1d(6)
        self.qkv = nn.Linear(6, 18)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        q, k, v = self.qkv(torch.relu(self.bn(self.first(x)))).chunk(3, -1)
        return self.head(self.drop(q * torch.sigmoid(k) + v))


torch.manual_seed(1)
model = Net()
loader = DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
"""

CANDIDATE = """
import numpy as np
import mindspore as ms
from mindspore import dataset, nn, ops

rng = np.random.RandomState(0)
X, Y = rng.randn(16, 5).astype(np.float32), rng.randint(0, 3, 16).astype(np.int32)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.stem = nn.Dense(5, 6)
        self.norm = nn.BatchNorm1d(6)
        self.query = nn.Dense(6, 6)
        self.key = nn.Dense(6, 6)
        self.value = nn.Dense(6, 6)
        self.drop = nn.Dropout(p=0.5)
        self.classifier = nn.Dense(6, 3)
        self.extra = ms.Parameter(ops.ones((2, 7), ms.float32), name="extra")

    def construct(self, x):
        h = ops.relu(self.norm(self.stem(x)))
        h = self.query(h) * ops.sigmoid(self.key(h)) + self.value(h)
        return self.classifier(self.drop(h)) + 0 * self.extra.sum()


ms.set_seed(77)
model = Net()
model.set_train()
data = dataset.NumpySlicesDataset((X, Y), shuffle=True).batch(4)
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.1)


def forward(x, y):
    return ops.cross_entropy(model(x), y)


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
print("own", float(model.stem.weight[0, 0]))
for x, y in data.create_tuple_iterator():
    print("first", float(x[0, 0]))
    loss, grads = grad_fn(x, y)
    print("loss", float(loss))
    optimizer(grads)
"""
STEPS = 3
PAIRS = {
    "stem.weight": "first.weight", "stem.bias": "first.bias", "norm.gamma": "bn.weight", "norm.beta": "bn.bias",
    "norm.moving_mean": "bn.running_mean", "norm.moving_variance": "bn.running_var",
    "classifier.weight": "head.weight", "classifier.bias": "head.bias",
}  # fmt: skip


class Two(NamedTuple):
    reference: Captured
    candidate: Captured


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    folder = tmp_path_factory.mktemp("sync")
    reference = Captured(folder / "ref", REFERENCE, "--steps", str(STEPS))
    candidate = Captured(folder / "ms", CANDIDATE, "--steps", str(STEPS), "--sync", reference.path)
    return Two(reference, candidate)


def test_starts_from_the_references_weights(two: Two) -> None:
    mine, theirs = two.reference.initial(), two.candidate.initial()
    for name, other in PAIRS.items():
        assert np.array_equal(theirs[name], mine[other]), name


def test_takes_the_rows_of_a_fused_layer(two: Two) -> None:
    mine, theirs = two.reference.initial(), two.candidate.initial()
    for number, part in enumerate(["query", "key", "value"]):
        rows = slice(6 * number, 6 * number + 6)
        assert np.array_equal(theirs[f"{part}.weight"], mine["qkv.weight"][rows])
        assert np.array_equal(theirs[f"{part}.bias"], mine["qkv.bias"][rows])


def test_remembers_its_own_weights(two: Two) -> None:
    own, started = two.candidate.own(), two.candidate.initial()
    assert own["stem.weight"][0, 0] == two.candidate.numbers("own")[0]
    assert not np.array_equal(own["stem.weight"], started["stem.weight"])
    assert np.array_equal(own["extra"], np.ones((2, 7)))
    assert np.array_equal(two.reference.own()["first.weight"], two.reference.initial()["first.weight"])


def test_what_has_no_counterpart_is_listed(two: Two) -> None:
    assert two.candidate.trace.meta.unmapped == ["extra"]
    assert two.reference.trace.meta.unmapped == []
    mapping = two.candidate.trace.meta.mapping
    assert mapping is not None
    assert {pair["candidate"]: pair["reference"] for pair in mapping["pairs"]}.items() >= PAIRS.items()


def test_gets_the_references_batches(two: Two) -> None:
    for step in range(STEPS):
        (batch,) = two.reference.trace.of(BatchEvent, step)
        (call,) = two.candidate.calls("stem", step)
        assert np.array_equal(two.candidate.array(call.inputs[0].ref), two.reference.array(batch.items[0].ref))
    starts = [two.reference.array(b.items[0].ref)[0, 0] for b in two.reference.trace.of(BatchEvent)]
    assert two.candidate.numbers("first") != starts  # its own loader shuffles otherwise


def test_gets_the_references_masks(two: Two) -> None:
    for step in range(STEPS):
        (mine,), (theirs,) = (side.trace.of(RandomEvent, step) for side in two)
        mask = two.reference.array(mine.ref)
        assert np.array_equal(two.candidate.array(theirs.ref), mask)
        assert np.array_equal(two.candidate.output("drop", step) == 0, mask == 0)


def test_hence_its_losses_are_the_references(two: Two) -> None:
    mine, theirs = ([float(side.array(event.ref)) for event in side.trace.of(LossEvent)] for side in two)
    assert len(mine) == STEPS
    assert theirs == pytest.approx(mine, rel=1e-5)


def test_and_so_are_its_weights_in_the_end(two: Two) -> None:
    mine, theirs = (side.updated("after", STEPS - 1) for side in two)
    assert np.allclose(theirs["classifier.weight"], mine["head.weight"], atol=1e-6)
    assert np.allclose(theirs["key.weight"], mine["qkv.weight"][6:12], atol=1e-6)


def test_buffers_are_not_touched_by_the_dry_run(two: Two) -> None:
    for step in range(STEPS):
        (mine,), (theirs,) = (side.trace.of(BufferEvent, step) for side in two)
        for name, other in (("moving_mean", "running_mean"), ("moving_variance", "running_var")):
            found = two.candidate.array(theirs.values[f"norm.{name}"])
            assert np.allclose(found, two.reference.array(mine.values[f"bn.{other}"]), atol=1e-5)
