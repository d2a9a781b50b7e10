import numpy as np
import torch
import torch.nn as nn

torch.manual_seed(0)
encoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
head_a = nn.Linear(16, 3)
head_b = nn.Linear(16, 1)
params = list(encoder.parameters()) + list(head_a.parameters()) + list(head_b.parameters())
opt = torch.optim.AdamW(params, lr=1e-3, weight_decay=0.01)
rs = np.random.RandomState(0)
X = rs.rand(30, 8).astype(np.float32)
Y = rs.randint(0, 3, 30)
T = rs.rand(30, 1).astype(np.float32)
for step in range(3):
    sl = slice(step * 10, step * 10 + 10)
    h = encoder(torch.from_numpy(X[sl]))
    loss = nn.CrossEntropyLoss()(head_a(h), torch.from_numpy(Y[sl]))
    loss = loss + 0.5 * nn.MSELoss()(head_b(h), torch.from_numpy(T[sl]))
    opt.zero_grad()
    loss.backward()
    opt.step()
