"""Digits from row profiles: a small classifier that is validated after every epoch."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Profiles(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(12, 24)
        self.norm = nn.BatchNorm1d(24)
        self.drop = nn.Dropout(0.25)
        self.out = nn.Linear(24, 5)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.norm(self.hidden(x)))))


def dataset(rng, count):
    labels = rng.randint(0, 5, count)
    rows = rng.randn(count, 12).astype(np.float32) + labels[:, None].astype(np.float32)
    return TensorDataset(torch.from_numpy(rows), torch.from_numpy(labels))


@torch.no_grad()
def validate(model, loader):
    model.eval()
    hits = total = 0
    for rows, labels in loader:
        hits += (model(rows).argmax(1) == labels).sum().item()
        total += len(labels)
    return hits / total


torch.manual_seed(3)
rng = np.random.RandomState(3)
train_loader = DataLoader(dataset(rng, 32), batch_size=16)
valid_loader = DataLoader(dataset(rng, 24), batch_size=12)
model = Profiles()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(4):
    model.train()
    for rows, labels in train_loader:
        loss = criterion(model(rows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {validate(model, valid_loader):.3f}")
