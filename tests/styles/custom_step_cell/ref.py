import numpy as np
import torch
from torch import nn

torch.manual_seed(3)
model = nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 1))
criterion = nn.SmoothL1Loss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
rng = np.random.RandomState(1)
a, b = rng.randn(32, 10).astype(np.float32), rng.randn(32, 1).astype(np.float32)
for k in range(4):
    xb, yb = torch.as_tensor(a[8 * k : 8 * k + 8]), torch.as_tensor(b[8 * k : 8 * k + 8])
    optimizer.zero_grad()
    criterion(model(xb), yb).backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.05)
    optimizer.step()
