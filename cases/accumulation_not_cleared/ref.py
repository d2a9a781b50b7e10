"""Ratings from users and items: matrix factorisation with a small network, gradients of two batches summed."""

import numpy as np
import torch
from torch import nn


class Ratings(nn.Module):
    def __init__(self, users=15, items=20, dim=8):
        super().__init__()
        self.users = nn.Embedding(users, dim)
        self.items = nn.Embedding(items, dim)
        self.fc1 = nn.Linear(2 * dim, 16)
        self.fc2 = nn.Linear(16, 1)

    def forward(self, user, item):
        x = torch.cat([self.users(user), self.items(item)], dim=-1)
        return self.fc2(torch.relu(self.fc1(x))).squeeze(-1)


torch.manual_seed(77)
rng = np.random.RandomState(77)
user = torch.from_numpy(rng.randint(0, 15, 96))
item = torch.from_numpy(rng.randint(0, 20, 96))
rating = torch.from_numpy(rng.uniform(1, 5, 96).astype(np.float32))
model = Ratings()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = nn.MSELoss()
accumulate, batch = 2, 12
optimizer.zero_grad()
for i in range(8):
    rows = slice(i * batch, i * batch + batch)
    loss = loss_fn(model(user[rows], item[rows]), rating[rows]) / accumulate
    loss.backward()
    if (i + 1) % accumulate == 0:
        optimizer.step()
        optimizer.zero_grad()
