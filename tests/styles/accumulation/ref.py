import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
rng = np.random.default_rng(0)
images = rng.standard_normal((32, 12)).astype(np.float32)
labels = rng.integers(0, 4, 32)
net = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
accumulate = 2

for i in range(8):
    x = torch.from_numpy(images[i * 4 : i * 4 + 4])
    y = torch.from_numpy(labels[i * 4 : i * 4 + 4])
    loss = nn.functional.cross_entropy(net(x), y) / accumulate
    loss.backward()
    if (i + 1) % accumulate == 0:
        optimizer.step()
        optimizer.zero_grad()
        print(i, loss.item())
