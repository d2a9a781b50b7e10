import numpy as np
import torch
from torch import nn


class Energy(nn.Module):
    """A potential whose negative gradient is the force."""

    def __init__(self, width=16):
        super().__init__()
        self.inner = nn.Linear(3, width)
        self.hidden = nn.Linear(width, width)
        self.outer = nn.Linear(width, 1, bias=False)

    def forward(self, x):
        h = torch.tanh(self.inner(x))
        h = h + torch.tanh(self.hidden(h))
        return self.outer(h)


torch.manual_seed(0)
model = Energy()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, eps=1e-4)
rng = np.random.RandomState(9)
positions = rng.uniform(-1, 1, (40, 3)).astype(np.float32)
energies = (positions**2).sum(1, keepdims=True).astype(np.float32)
for step in range(4):
    x = torch.from_numpy(positions[step * 10 : step * 10 + 10])
    target = torch.from_numpy(energies[step * 10 : step * 10 + 10])
    out = model(x)
    cotangent = 2 * (out - target).detach() / len(x)
    optimizer.zero_grad()
    out.backward(gradient=cotangent)
    optimizer.step()
