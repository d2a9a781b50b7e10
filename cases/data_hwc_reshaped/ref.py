"""Patch-embedding classifier on generated landscapes; images are stored as HWC."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset


class Landscapes(Dataset):
    def __init__(self, n=36):
        rng = np.random.default_rng(314)
        self.y = rng.integers(0, 3, n)
        sky = np.linspace(1, 0, 16)[:, None, None] * np.array([0.3, 0.5, 0.9])
        land = np.array([[0.2, 0.6, 0.2], [0.8, 0.7, 0.4], [0.9, 0.9, 0.95]])
        self.x = np.empty((n, 16, 16, 3), np.float32)
        for i in range(n):
            horizon = rng.integers(5, 12) + np.round(2 * np.sin(np.arange(16) * rng.uniform(0.2, 0.9))).astype(int)
            ground = np.arange(16)[:, None] > horizon[None]
            self.x[i] = np.where(ground[..., None], land[self.y[i]], sky) + 0.05 * rng.standard_normal((16, 16, 3))

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return self.x[index].transpose(2, 0, 1) - 0.5, self.y[index]


class PatchNet(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4)
        self.norm = nn.LayerNorm(dim)
        self.mix = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, 3)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = tokens + torch.tanh(self.mix(self.norm(tokens)))
        return self.head(tokens.mean(1))


torch.manual_seed(2)
model = PatchNet()
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
loader = DataLoader(Landscapes(), batch_size=9, shuffle=False)
for epoch in range(2):
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
