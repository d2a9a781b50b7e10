import numpy as np
import torch
from torch import nn


def conv_block(cin, cout):
    return nn.Sequential(nn.Conv1d(cin, cout, 5, padding=2), nn.BatchNorm1d(cout), nn.ReLU(), nn.MaxPool1d(2))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv_block(1, 4), conv_block(4, 8))
        self.head = nn.Linear(8 * 8, 3)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


net = Net()
optimizer = torch.optim.Adagrad(net.parameters(), lr=0.02, initial_accumulator_value=0.1)
torch.manual_seed(99)
rng = np.random.default_rng(99)
signals = rng.standard_normal((40, 1, 32)).astype(np.float32)
labels = rng.integers(0, 3, 40)
order = np.arange(40)
for epoch in range(2):
    for start in range(0, 40, 10):
        take = order[start : start + 10]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(torch.as_tensor(signals[take])), torch.as_tensor(labels[take]))
        loss.backward()
        optimizer.step()
