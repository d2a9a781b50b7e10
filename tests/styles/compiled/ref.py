import numpy as np
import torch
import torch.nn as nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ff = nn.Linear(dim, dim)

    def forward(self, x):
        return x + torch.tanh(self.ff(self.norm(x)))


class Net(nn.Module):
    def __init__(self, dim=16, depth=3):
        super().__init__()
        self.blocks = nn.ModuleList([Block(dim) for _ in range(depth)])
        self.out = nn.Linear(dim, 1)

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.out(x)


torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
model = torch.compile(Net().to(device))
optimizer = torch.optim.RAdam(model.parameters(), lr=1e-2)
rs = np.random.RandomState(0)
for step in range(3):
    x = torch.tensor(rs.randn(8, 16), dtype=torch.float32, device=device)
    y = torch.tensor(rs.randn(8, 1), dtype=torch.float32, device=device)
    loss = nn.functional.l1_loss(model(x), y)
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
