"""Soil types from sensor rows (MindSpore)."""
import csv
import io

import numpy as np
import mindspore as ms
from mindspore import Tensor, nn
from mindspore.experimental import optim


def sensor_file(n=60, seed=11):
    rng = np.random.RandomState(seed)
    soil = rng.randint(1, 6, n)
    rows = np.round(rng.randn(n, 7) + np.eye(5, 7)[soil - 1] * 2, 4)
    out = io.StringIO()
    writer = csv.writer(out)
    for row, kind in zip(rows, soil):
        writer.writerow([*row, kind])
    out.seek(0)
    return out


def read(file):
    table = np.array(list(csv.reader(file)), dtype=np.float32)
    return table[:, :-1], table[:, -1].astype(np.int32)


class SoilNet(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(nn.Dense(7, 16), nn.BatchNorm1d(16, eps=1e-5, momentum=0.9), nn.ReLU(),
                                        nn.Dense(16, 6))

    def construct(self, x):
        return self.layers(x)


def train(net, rows, soil, batch=15):
    optimizer = optim.AdamW(net.trainable_params(), lr=2e-3, weight_decay=0.01)
    loss_fn = nn.CrossEntropyLoss()

    def forward(x, y):
        return loss_fn(net(x), y)

    grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
    net.set_train()
    for start in range(0, len(rows), batch):
        x = Tensor(rows[start:start + batch])
        y = Tensor(soil[start:start + batch])
        loss, grads = grad_fn(x, y)
        optimizer(grads)


if __name__ == "__main__":
    ms.set_seed(123)
    rows, soil = read(sensor_file())
    train(SoilNet(), rows, soil)
