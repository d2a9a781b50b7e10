"""A parameter that the candidate shares and the reference does not: one fault, at the layer that shares it."""

from __future__ import annotations

from conftest import Parity

REFERENCE = """
import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)

    def forward(self, x):
        return self.head(torch.tanh(self.body(self.embed(x))))


torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
rng = np.random.RandomState(0)
for _ in range(3):
    x = torch.from_numpy(rng.randint(0, 20, (4, 6)))
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x).reshape(-1, 20), x.reshape(-1)).backward()
    optimizer.step()
"""

CANDIDATE = """
import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8, embedding_table=Normal(1.0))
        self.body = nn.Dense(8, 8)
        self.head = nn.Dense(8, 20, has_bias=False)
        self.head.weight = self.embed.embedding_table

    def construct(self, x):
        return self.head(ops.tanh(self.body(self.embed(x))))


ms.set_seed(0)
net = Net()
net.set_train()
optimizer = nn.SGD(net.trainable_params(), 0.1)
step = ms.value_and_grad(lambda x: ops.cross_entropy(net(x).reshape(-1, 20), x.reshape(-1)), None, optimizer.parameters)
rng = np.random.RandomState(0)
for _ in range(3):
    loss, grads = step(ms.Tensor(rng.randint(0, 20, (4, 6)), ms.int32))
    optimizer(grads)
"""


def test_a_head_that_is_tied_in_the_candidate_only(parity: Parity) -> None:
    parity.write("ref.py", REFERENCE)
    parity.write("ms.py", CANDIDATE)
    document = parity("compare", "ref.py", "ms.py", "--format", "json").document
    (fault,) = [f for f in document["findings"] if f["severity"] == "fault"]
    assert (fault["stage"], fault["kind"], fault["fix"]) == (
        "structure",
        "tied-parameter",
        "give head.weight a Parameter of its own",
    )
    places = [(fault[side]["path"], fault[side]["line"]) for side in ("reference", "candidate")]
    assert places == [
        ("head.weight", 1 + REFERENCE.splitlines().index("        self.head = nn.Linear(8, 20, bias=False)")),
        ("head.weight", 1 + CANDIDATE.splitlines().index("        self.head = nn.Dense(8, 20, has_bias=False)")),
    ]
