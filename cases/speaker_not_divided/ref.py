"""Tell speakers apart from frames of sound: a small network, gradients of three batches averaged."""

import argparse

import numpy as np
import torch
from torch import nn


class Speaker(nn.Module):
    def __init__(self, bands=20, hidden=32, speakers=7):
        super().__init__()
        self.conv = nn.Conv1d(bands, hidden, 3, padding=1)
        self.bn = nn.BatchNorm1d(hidden)
        self.head = nn.Linear(hidden, speakers)

    def forward(self, frames):
        x = torch.relu(self.conv(frames)).mean(dim=2)
        return self.head(self.bn(x))


parser = argparse.ArgumentParser()
parser.add_argument("--accumulate", type=int, default=3)
args = parser.parse_args()
torch.manual_seed(5)
rng = np.random.RandomState(6)
net = Speaker()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for step in range(4):
    optimizer.zero_grad()
    for _ in range(args.accumulate):
        frames = torch.from_numpy(rng.randn(8, 20, 12).astype(np.float32))
        speakers = torch.from_numpy(rng.randint(0, 7, 8))
        loss = nn.functional.cross_entropy(net(frames), speakers) / args.accumulate
        loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.6f}")
