import numpy as np
import torch
import torch.nn as nn
from torch.nn.utils import parametrize


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).transpose(-1, -2)


class Scaled(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([gain]))

    def forward(self, weight):
        return weight * self.gain


class Net(nn.Module):
    def __init__(self, dim=10):
        super().__init__()
        self.mix = nn.Linear(dim, dim)
        parametrize.register_parametrization(self.mix, "weight", Symmetric())
        self.conv = nn.Conv1d(1, 4, 3, padding=1)
        parametrize.register_parametrization(self.conv, "weight", Scaled(0.7))
        self.head = nn.Linear(4 * dim, 2)

    def forward(self, x):
        x = torch.tanh(self.mix(x))
        x = nn.functional.silu(self.conv(x.unsqueeze(1)))
        return self.head(x.flatten(1))


torch.manual_seed(21)
net = Net()
opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.8, nesterov=True)
rs = np.random.RandomState(21)
for _ in range(3):
    x = torch.tensor(rs.randn(6, 10), dtype=torch.float32)
    y = torch.tensor(rs.randn(6, 2), dtype=torch.float32)
    loss = nn.MSELoss()(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
