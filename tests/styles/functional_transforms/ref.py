import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad_and_value


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(7, 20)
        self.norm = nn.LayerNorm(20)
        self.fc2 = nn.Linear(20, 3)

    def forward(self, x):
        return self.fc2(F.gelu(self.norm(self.fc1(x))))


torch.manual_seed(4)
net = Net()
params = dict(net.named_parameters())
optimizer = torch.optim.SGD(params.values(), lr=0.1, momentum=0.9)


def compute_loss(params, x, y):
    logits = functional_call(net, params, (x,))
    return F.cross_entropy(logits, y)


step = grad_and_value(compute_loss)
rng = np.random.RandomState(4)
for i in range(4):
    x = torch.from_numpy(rng.randn(12, 7).astype(np.float32))
    y = torch.from_numpy(rng.randint(0, 3, 12))
    detached = {name: p.detach() for name, p in params.items()}
    grads, loss = step(detached, x, y)
    for name, p in params.items():
        p.grad = grads[name]
    optimizer.step()
    print(i, loss.item())
