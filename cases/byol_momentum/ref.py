"""BYOL on small random images: an online network predicts what a slowly moving copy of it sees."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Encoder(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.projector = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(inplace=True), nn.Linear(32, dim))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.projector(x.mean(dim=(2, 3)))


class BYOL(nn.Module):
    def __init__(self, momentum=0.99, dim=16):
        super().__init__()
        self.online_encoder = Encoder(dim)
        self.predictor = nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, dim))
        self.target_encoder = copy.deepcopy(self.online_encoder)
        for p in self.target_encoder.parameters():
            p.requires_grad = False
        self.momentum = momentum

    @torch.no_grad()
    def update_target(self):
        for online, target in zip(self.online_encoder.parameters(), self.target_encoder.parameters()):
            target.data = self.momentum * target.data + (1 - self.momentum) * online.data

    def forward(self, x1, x2):
        p1 = self.predictor(self.online_encoder(x1))
        p2 = self.predictor(self.online_encoder(x2))
        with torch.no_grad():
            z1 = self.target_encoder(x1)
            z2 = self.target_encoder(x2)
        return regression(p1, z2.detach()) + regression(p2, z1.detach())


def regression(p, z):
    p = F.normalize(p, dim=1)
    z = F.normalize(z, dim=1)
    return (2 - 2 * (p * z).sum(dim=1)).mean()


torch.manual_seed(0)
rng = np.random.RandomState(0)
model = BYOL()
optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.1, momentum=0.9)
model.train()
for step in range(6):
    view1 = torch.from_numpy(rng.rand(8, 3, 16, 16).astype(np.float32))
    view2 = torch.from_numpy(rng.rand(8, 3, 16, 16).astype(np.float32))
    loss = model(view1, view2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    model.update_target()
    print(step, loss.item())
