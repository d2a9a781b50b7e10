"""One small model and its training loop in both frameworks, and edits that make a fault of it.

The candidate is a faithful port. It writes in its own words what a port does: an activation inside `Dense`, other layer
names, momentum as its complement. A bias in front of a BatchNorm gets a gradient that is zero by structure.
"""

from __future__ import annotations

TORCH = """
import math

import numpy as np
import torch
from torch import nn

rng = np.random.RandomState(0)
DATA = [(rng.randn(8, 4, 6).astype(np.float32), rng.randint(0, 3, 8)) for _ in range(3)]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8, eps=1e-5)
        self.query = nn.Linear(8, 8)
        self.key = nn.Linear(8, 8)
        self.value = nn.Linear(8, 8)
        self.out = nn.Linear(8, 8)

    def forward(self, x):
        h = self.norm(x)
        q, k, v = self.query(h), self.key(h), self.value(h)
        scores = q @ k.transpose(1, 2) / math.sqrt(8)
        weights = torch.softmax(scores, dim=-1)
        return x + self.out(weights @ v)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.attention = Attention()
        self.up = nn.Linear(8, 16)
        self.act = nn.GELU()
        self.down = nn.Linear(16, 12)
        self.bn = nn.BatchNorm1d(12)
        self.relu = nn.ReLU()
        self.mid = nn.Linear(12, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        x = self.attention(self.embed(x))
        x = x + 0.5 * torch.tanh(x)
        x = self.down(self.act(self.up(x)).mean(1))
        x = self.relu(self.bn(x))
        return self.head(torch.relu(self.mid(x)))


torch.manual_seed(0)
model = Net()
model.train()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for x, y in DATA:
    optimizer.zero_grad()
    loss = criterion(model(torch.from_numpy(x)), torch.from_numpy(y))
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
"""

MINDSPORE = """
import numpy as np
import mindspore as ms
from mindspore import amp, nn, ops

rng = np.random.RandomState(0)
DATA = [(rng.randn(8, 4, 6).astype(np.float32), rng.randint(0, 3, 8).astype(np.int32)) for _ in range(3)]


class SelfAttention(nn.Cell):
    def __init__(self):
        super().__init__()
        self.ln = nn.LayerNorm((8,), epsilon=1e-5)
        self.q = nn.Dense(8, 8)
        self.k = nn.Dense(8, 8)
        self.v = nn.Dense(8, 8)
        self.proj = nn.Dense(8, 8)

    def construct(self, x):
        h = self.ln(x)
        q, k, v = self.q(h), self.k(h), self.v(h)
        scores = ops.matmul(q, k.swapaxes(1, 2)) / 8 ** 0.5
        weights = ops.softmax(scores, axis=-1)
        return x + self.proj(ops.matmul(weights, v))


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.stem = nn.Dense(6, 8)
        self.attn = SelfAttention()
        self.fc1 = nn.Dense(8, 16)
        self.gelu = nn.GELU(approximate=False)
        self.fc2 = nn.Dense(16, 12)
        self.norm = nn.BatchNorm1d(12, momentum=0.9)
        self.relu = nn.ReLU()
        self.fc3 = nn.Dense(12, 10, activation="relu")
        self.classifier = nn.Dense(10, 3)

    def construct(self, x):
        x = self.attn(self.stem(x))
        x = x + 0.5 * ops.tanh(x)
        x = self.fc2(self.gelu(self.fc1(x)).mean(1))
        x = self.relu(self.norm(x))
        return self.classifier(self.fc3(x))


ms.set_seed(3)
model = Network()
model.set_train()
criterion = nn.CrossEntropyLoss()
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.1, momentum=0.9)
scaler = None


def forward(x, y):
    loss = criterion(model(x), y)
    return loss


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
for x, y in DATA:
    loss, grads = grad_fn(ms.Tensor(x), ms.Tensor(y))
    optimizer(grads)
    print("loss", float(loss))
"""

Edit = tuple[str, str]
"""What stands in a script, and what stands there instead."""

LAYERNORM_EPS: Edit = ("nn.LayerNorm((8,), epsilon=1e-5)", "nn.LayerNorm((8,))")
GELU_TANH: Edit = ("nn.GELU(approximate=False)", "nn.GELU()")
SCALE_BETWEEN: Edit = ("x = x + 0.5 * ops.tanh(x)", "x = x + 0.25 * ops.tanh(x)")
SOFTMAX_AXIS: Edit = ("ops.softmax(scores, axis=-1)", "ops.softmax(scores, axis=1)")
LEAKY_RELU: Edit = ("self.relu = nn.ReLU()", "self.relu = nn.LeakyReLU(0.1)")
STOP_GRADIENT: Edit = ("return x + self.proj(ops.matmul(weights, v))",
                       "return ops.stop_gradient(x) + self.proj(ops.matmul(weights, v))")  # fmt: skip
LOSS_SUM: Edit = ("nn.CrossEntropyLoss()", 'nn.CrossEntropyLoss(reduction="sum")')
SCALER: Edit = ("scaler = None", "scaler = amp.StaticLossScaler(1024.0)")
SCALED: Edit = ("    return loss\n", "    return scaler.scale(loss)\n")
UNSCALED: Edit = ("    optimizer(grads)\n", "    grads = scaler.unscale(grads)\n    optimizer(grads)\n")
FROZEN: Edit = ("model.set_train()\n", "model.set_train()\nmodel.fc2.weight.requires_grad = False\n")
BN_MOMENTUM: Edit = ("nn.BatchNorm1d(12, momentum=0.9)", "nn.BatchNorm1d(12, momentum=0.1)")
BN_MOMENTUM_NEAR: Edit = ("nn.BatchNorm1d(12, momentum=0.9)", "nn.BatchNorm1d(12, momentum=0.8)")
ADAM: Edit = ("nn.SGD(model.trainable_params(), learning_rate=0.1, momentum=0.9)",
              "nn.Adam(model.trainable_params(), learning_rate=0.001)")  # fmt: skip
TORCH_ADAM: Edit = ("torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)",
                    "torch.optim.Adam(model.parameters(), lr=0.001)")  # fmt: skip
TORCH_SCALE: Edit = ("x = x + 0.5 * torch.tanh(x)", "x = x + 0.25 * torch.tanh(x)")
TANH_OF_MORE: Edit = ("ops.tanh(x)", "ops.tanh(4 * x)")
TORCH_TANH_OF_MORE: Edit = ("torch.tanh(x)", "torch.tanh(4 * x)")
TORCH_FROZEN: Edit = ("model.train()\n", "model.train()\nmodel.down.weight.requires_grad_(False)\n")
TORCH_RATE: Edit = ("lr=0.1", "lr=0.05")
SIX_SAMPLES: tuple[Edit, ...] = (
    ("rng.randn(8, 4, 6)", "rng.randn(6, 4, 6)"), ("rng.randint(0, 3, 8)", "rng.randint(0, 3, 6)"),
    ("criterion(model(x), y)", "criterion(model(x) + ops.zeros((6, 3)), y)"),
)  # fmt: skip
NO_RELU: Edit = ("x = self.relu(self.norm(x))", "x = self.norm(x)")
SOFTMAX: tuple[Edit, Edit] = (
    ("self.classifier = nn.Dense(10, 3)", "self.classifier = nn.Dense(10, 3)\n        self.softmax = nn.Softmax()"),
    ("return self.classifier(self.fc3(x))", "return self.softmax(self.classifier(self.fc3(x)))"),
)
SUM_FOR_MEAN: Edit = ("x = self.fc2(self.gelu(self.fc1(x)).mean(1))", "x = self.fc2(self.gelu(self.fc1(x)).sum(1))")
NO_SHORTCUT: Edit = ("return x + self.proj(ops.matmul(weights, v))", "return self.proj(ops.matmul(weights, v))")
TORCH_FUNCTIONAL: Edit = ("x = self.relu(self.bn(x))", "x = torch.nn.functional.relu(self.bn(x))")


def edited(text: str, *edits: Edit) -> str:
    """A script with edits, each of which must find its place exactly once."""
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the script"
        text = text.replace(old, new)
    return text


def line_of(text: str, part: str) -> int:
    """The number of the only line that holds a text."""
    (number,) = [n for n, line in enumerate(text.splitlines(), 1) if part in line]
    return number
