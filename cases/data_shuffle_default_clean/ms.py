"""Curriculum regression on MindSpore."""
import argparse

import numpy as np
import mindspore
from mindspore import nn
from mindspore.dataset import GeneratorDataset
from mindspore.train import Model


def curriculum(n, seed):
    rng = np.random.RandomState(seed)
    x = rng.uniform(-1, 1, (n, 8)).astype(np.float32)
    y = np.sin(3 * x[:, :4]).sum(1) - x[:, 4] * x[:, 5]
    difficulty = np.abs(x).sum(1)
    order = np.argsort(difficulty)
    return x[order], y[order].astype(np.float32)[:, None]


class Curriculum:
    def __init__(self, n, seed):
        self.x, self.y = curriculum(n, seed)

    def __getitem__(self, i):
        return self.x[i], self.y[i]

    def __len__(self):
        return len(self.x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=80)
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    mindspore.set_seed(77)
    train = GeneratorDataset(Curriculum(args.samples, 5), column_names=["features", "target"], shuffle=False)
    train = train.batch(args.batch_size)
    net = nn.SequentialCell(nn.Dense(8, 32), nn.Tanh(), nn.Dense(32, 1))
    optim = nn.SGD(net.trainable_params(), learning_rate=0.02)
    model = Model(net, nn.MSELoss(), optim)
    model.train(3, train, dataset_sink_mode=False)


if __name__ == "__main__":
    main()
