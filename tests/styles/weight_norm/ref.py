import numpy as np
import torch
import torch.nn as nn
from torch.nn.utils.parametrizations import weight_norm

torch.manual_seed(0)
net = nn.Sequential(weight_norm(nn.Linear(8, 8)), nn.ELU(), nn.Linear(8, 1))
opt = torch.optim.SGD(net.parameters(), 0.1)
rs = np.random.RandomState(0)
for i in range(3):
    x = torch.from_numpy(rs.rand(4, 8).astype("float32"))
    opt.zero_grad()
    loss = net(x).pow(2).sum()
    loss.backward()
    opt.step()
