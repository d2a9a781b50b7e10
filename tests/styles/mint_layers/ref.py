import numpy as np
import torch
from torch import nn


class GatedUnit(nn.Module):
    def __init__(self, dim, hidden, dropout=0.0):
        super().__init__()
        self.norm = nn.GroupNorm(4, dim)
        self.value = nn.Linear(dim, hidden)
        self.gate = nn.Linear(dim, hidden)
        self.out = nn.Linear(hidden, dim, bias=False)
        self.act = nn.SiLU()

    def forward(self, x):
        y = self.norm(x)
        return x + self.out(self.act(self.gate(y)) * self.value(y))


class Scorer(nn.Module):
    def __init__(self, features=14, dim=24, depth=2):
        super().__init__()
        self.inp = nn.Linear(features, dim)
        self.units = nn.ModuleList(GatedUnit(dim, 32) for _ in range(depth))
        self.score = nn.Linear(2 * dim, 1)

    def forward(self, x):
        x = torch.tanh(self.inp(x))
        for unit in self.units:
            x = unit(x)
        pooled = torch.cat([x, torch.softmax(x, dim=-1)], dim=1)
        return self.score(pooled).squeeze(1)


torch.manual_seed(31)
model = Scorer()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
criterion = nn.BCEWithLogitsLoss()
rng = np.random.default_rng(31)
inputs = rng.standard_normal((48, 14)).astype(np.float32)
targets = (inputs.sum(1) > 0).astype(np.float32)
model.train()
for step in range(4):
    x = torch.from_numpy(inputs[step * 12 : step * 12 + 12])
    y = torch.from_numpy(targets[step * 12 : step * 12 + 12])
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    scheduler.step()
