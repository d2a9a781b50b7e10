"""Sets of points to a label: a shared network for each point, the mean over points, and a head."""

import numpy as np
import torch
from torch import nn


class PointNet(nn.Module):
    def __init__(self, classes=4, width=24):
        super().__init__()
        self.fc1 = nn.Linear(3, width)
        self.fc2 = nn.Linear(width, width)
        self.norm = nn.GroupNorm(3, width)
        self.act = nn.LeakyReLU()
        self.head = nn.Linear(width, classes)

    def forward(self, points):
        x = self.act(self.fc1(points))
        x = torch.mean(self.act(self.fc2(x)), dim=1)
        return self.head(self.act(self.norm(x)))


torch.manual_seed(61)
rng = np.random.RandomState(61)
clouds = torch.from_numpy(rng.randn(40, 16, 3).astype(np.float32))
kinds = torch.from_numpy(rng.randint(0, 2, (40, 4)).astype(np.float32))
model = PointNet()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
loss_fn = nn.BCEWithLogitsLoss()
for i in range(4):
    optimizer.zero_grad()
    loss = loss_fn(model(clouds[i * 10 : i * 10 + 10]), kinds[i * 10 : i * 10 + 10])
    loss.backward()
    optimizer.step()
