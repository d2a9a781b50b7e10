"""A generator with a perceptual loss: features of a frozen, never trained network."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, padding=1)
        self.c2 = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        a = F.relu(self.c1(x))
        b = F.relu(self.c2(F.avg_pool2d(a, 2)))
        return a, b


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, padding=1)
        self.b = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x):
        return x + self.b(F.leaky_relu(self.a(x), 0.1))


torch.manual_seed(0)
features = Features().eval()
features.requires_grad_(False)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-6)
rng = np.random.RandomState(0)
for _ in range(4):
    x = torch.from_numpy(rng.rand(4, 3, 8, 8).astype(np.float32))
    y = torch.from_numpy(rng.rand(4, 3, 8, 8).astype(np.float32))
    out = net(x)
    loss = F.l1_loss(out, y)
    for mine, real in zip(features(out), features(y)):
        loss = loss + 0.1 * F.mse_loss(mine, real.detach())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
