"""Texture patches: a small convolutional classifier with batch normalization and dropout."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Patches(nn.Module):
    def __init__(self, width=10, classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(2, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width, momentum=0.2)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.dropout(x.mean((2, 3)), 0.3, self.training)
        return self.head(x)


torch.manual_seed(5)
rng = np.random.RandomState(5)
patches = (rng.randn(48, 2, 6, 6) * 1.5 + 0.5).astype(np.float32)
labels = rng.randint(0, 4, 48)
model = Patches()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
model.train()
for start in range(0, 48, 12):
    logits = model(torch.from_numpy(patches[start : start + 12]))
    loss = F.cross_entropy(logits, torch.from_numpy(labels[start : start + 12]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"loss {loss.item():.4f}")
