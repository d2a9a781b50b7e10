import numpy as np
import torch
from torch import nn


class Highway(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.transform = nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, dim)

    def forward(self, x):
        t = torch.sigmoid(self.gate(x))
        return t * torch.relu(self.transform(x)) + (1 - t) * x


torch.manual_seed(17)
model = nn.Sequential(nn.Linear(11, 16), Highway(16), Highway(16), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
criterion = nn.CrossEntropyLoss()
scale = 512.0
rng = np.random.RandomState(17)
x = torch.from_numpy(rng.randn(60, 11).astype(np.float32))
y = torch.from_numpy(rng.randint(0, 3, 60))
for i in range(4):
    optimizer.zero_grad()
    loss = criterion(model(x[i * 15 : i * 15 + 15]), y[i * 15 : i * 15 + 15])
    (loss * scale).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3 * scale)
    for p in model.parameters():
        p.grad.div_(scale)
    if all(torch.isfinite(p.grad).all() for p in model.parameters()):
        optimizer.step()
    print(f"{i}: {loss.item():.5f}")
