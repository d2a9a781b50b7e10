"""Curriculum regression: samples are sorted from easy to hard, so the loader must keep their order."""
import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def curriculum(n, seed):
    rng = np.random.RandomState(seed)
    x = rng.uniform(-1, 1, (n, 8)).astype(np.float32)
    y = np.sin(3 * x[:, :4]).sum(1) - x[:, 4] * x[:, 5]
    difficulty = np.abs(x).sum(1)
    order = np.argsort(difficulty)
    return x[order], y[order].astype(np.float32)[:, None]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=80)
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    torch.manual_seed(77)
    x, y = curriculum(args.samples, 5)
    train = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=args.batch_size)
    net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    optim = torch.optim.SGD(net.parameters(), lr=0.02)
    mse = nn.MSELoss()
    for epoch in range(3):
        for features, target in train:
            optim.zero_grad()
            error = mse(net(features), target)
            error.backward()
            optim.step()


if __name__ == "__main__":
    main()
