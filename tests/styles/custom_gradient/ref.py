import numpy as np
import torch
from torch import nn


class StraightThrough(torch.autograd.Function):
    """Rounds; the gradient passes where the input is within the range."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.round(x * 4) / 4

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1).to(grad.dtype)


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(10, 18)
        self.fc2 = nn.Linear(18, 5)

    def forward(self, x):
        return self.fc2(StraightThrough.apply(torch.tanh(self.fc1(x)) * 1.2))


torch.manual_seed(19)
net = Quantised()
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
rng = np.random.RandomState(19)
for _ in range(3):
    x, y = torch.from_numpy(rng.randn(9, 10).astype("f")), torch.from_numpy(rng.randint(0, 5, 9))
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
