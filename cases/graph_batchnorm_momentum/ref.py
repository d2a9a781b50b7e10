"""Bottlenecks with inverted residuals, in the manner of MobileNetV2."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def conv_bn(cin, cout, kernel, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout), nn.ReLU6()
    )


class Inverted(nn.Module):
    def __init__(self, cin, cout, stride, expand=2):
        super().__init__()
        hidden = cin * expand
        self.same = stride == 1 and cin == cout
        self.expand = conv_bn(cin, hidden, 1)
        self.depth = conv_bn(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, cout, 1, bias=False)
        self.norm = nn.BatchNorm2d(cout)

    def forward(self, x):
        y = self.norm(self.project(self.depth(self.expand(x))))
        return x + y if self.same else y


class Net(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        self.stem = conv_bn(3, 6, 3, 2)
        self.blocks = nn.Sequential(Inverted(6, 6, 1), Inverted(6, 10, 2))
        self.head = nn.Linear(10, classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean([2, 3]))


if __name__ == "__main__":
    torch.manual_seed(23)
    rng = np.random.default_rng(23)
    images = torch.from_numpy(rng.random((32, 3, 16, 16), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, 6, 32))
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for x, y in DataLoader(TensorDataset(images, labels), batch_size=8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
