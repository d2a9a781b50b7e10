"""A classifier trained with groups, warmup, accumulation and clipping, ported to MindSpore."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

WARMUP, ACCUMULATE, MAX_NORM = 4, 2, 0.5


class Net(nn.Cell):
    def __init__(self, features=12, hidden=24, classes=5):
        super().__init__()
        self.fc_in = nn.Dense(features, hidden)
        self.ln1 = nn.LayerNorm((hidden,), epsilon=1e-5)
        self.fc_mid = nn.Dense(hidden, hidden)
        self.ln2 = nn.LayerNorm((hidden,), epsilon=1e-5)
        self.classifier = nn.Dense(hidden, classes)

    def construct(self, x):
        x = ops.relu(self.ln1(self.fc_in(x)))
        x = x + ops.relu(self.ln2(self.fc_mid(x)))
        return self.classifier(x)


def main():
    ms.set_seed(0)
    rng = np.random.RandomState(21)
    net = Net()
    criterion = nn.CrossEntropyLoss()
    rates = [0.1 * min(1.0, (step + 1) / WARMUP) for step in range(8)]
    decay = [p for p in net.trainable_params() if p.ndim > 1]
    rest = [p for p in net.trainable_params() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 5e-3}, {"params": rest, "weight_decay": 0.0}]
    optimizer = nn.SGD(groups, learning_rate=rates, momentum=0.9, nesterov=True)

    def forward(x, y):
        return criterion(net(x), y) / ACCUMULATE

    grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
    net.set_train()
    for step in range(3):
        total = None
        for _ in range(ACCUMULATE):
            x = Tensor(rng.randn(8, 12).astype(np.float32))
            y = Tensor(rng.randint(0, 5, 8), ms.int32)
            loss, grads = grad_fn(x, y)
            total = grads if total is None else tuple(a + b for a, b in zip(total, grads, strict=True))
        total = ops.clip_by_global_norm(total, MAX_NORM)
        optimizer(total)
        print(f"step {step} loss {float(loss):.7f}")


if __name__ == "__main__":
    main()
