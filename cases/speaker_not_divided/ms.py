"""Tell speakers apart from frames of sound: a small network, gradients of three batches averaged."""

import argparse

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Speaker(nn.Cell):
    def __init__(self, bands=20, hidden=32, speakers=7):
        super().__init__()
        self.conv = nn.Conv1d(bands, hidden, 3, pad_mode="pad", padding=1, has_bias=True)
        self.bn = nn.BatchNorm1d(hidden)
        self.head = nn.Dense(hidden, speakers)

    def construct(self, frames):
        x = ops.relu(self.conv(frames)).mean(axis=2)
        return self.head(self.bn(x))


parser = argparse.ArgumentParser()
parser.add_argument("--accumulate", type=int, default=3)
args = parser.parse_args()
ms.set_seed(5)
rng = np.random.RandomState(6)
net = Speaker()
optimizer = nn.SGD(net.trainable_params(), learning_rate=0.1, momentum=0.9)


def forward(frames, speakers):
    return ops.cross_entropy(net(frames), speakers)


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
net.set_train()
for step in range(4):
    total = [0.0] * len(optimizer.parameters)
    for _ in range(args.accumulate):
        frames = Tensor(rng.randn(8, 20, 12).astype(np.float32))
        speakers = Tensor(rng.randint(0, 7, 8), ms.int32)
        loss, grads = grad_fn(frames, speakers)
        total = [a + g for a, g in zip(total, grads, strict=True)]
    optimizer(tuple(total))
    print(f"step {step} loss {float(loss) / args.accumulate:.6f}")
