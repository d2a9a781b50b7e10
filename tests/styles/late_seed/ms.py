import mindspore
import mindspore.nn as nn
import mindspore.ops as ops
import numpy as np
from mindspore import Tensor


def conv_block(cin, cout):
    return nn.SequentialCell(
        nn.Conv1d(cin, cout, 5, pad_mode="pad", padding=2, has_bias=True),
        nn.BatchNorm1d(cout),
        nn.ReLU(),
        nn.MaxPool1d(2, 2),
    )


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body = nn.SequentialCell(conv_block(1, 4), conv_block(4, 8))
        self.head = nn.Dense(8 * 8, 3)

    def construct(self, x):
        return self.head(ops.flatten(self.body(x)))


net = Net()
optimizer = nn.Adagrad(net.trainable_params(), accum=0.1, learning_rate=0.02)


def forward_fn(x, y):
    return ops.cross_entropy(net(x), y)


grad_fn = mindspore.value_and_grad(forward_fn, None, net.trainable_params())
net.set_train()
rng = np.random.default_rng(99)
signals = rng.standard_normal((40, 1, 32)).astype(np.float32)
labels = rng.integers(0, 3, 40).astype(np.int32)
order = np.arange(40)
for epoch in range(2):
    for start in range(0, 40, 10):
        take = order[start : start + 10]
        loss, grads = grad_fn(Tensor(signals[take]), Tensor(labels[take]))
        optimizer(grads)
