import numpy as np
import torch
from torch import nn
from torch.func import functional_call

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(6, 12), nn.Sigmoid(), nn.Linear(12, 2))
opt = torch.optim.Adagrad(net.parameters(), lr=0.05, initial_accumulator_value=0.1)
rs = np.random.RandomState(2)
for _ in range(3):
    x = torch.from_numpy(rs.randn(5, 6).astype(np.float32))
    t = torch.from_numpy(rs.randn(5, 2).astype(np.float32))
    params = dict(net.named_parameters())
    loss = ((functional_call(net, params, (x,)) - t) ** 2).mean()
    opt.zero_grad()
    grads = torch.autograd.grad(loss, list(params.values()))
    for p, g in zip(params.values(), grads):
        p.grad = g
    opt.step()
