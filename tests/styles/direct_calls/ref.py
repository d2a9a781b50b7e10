from collections import namedtuple

import numpy as np
import torch
import torch.nn as nn

Posterior = namedtuple("Posterior", ["mean", "log_var", "extra"])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(12, 16)
        self.mean = nn.Linear(16, 3)
        self.log_var = nn.Linear(16, 3)

    def forward(self, x):
        h = torch.relu(self.body.forward(x))
        return Posterior(self.mean.forward(h), self.log_var(h), None)


class Regulariser(nn.Module):
    """Keeps its loss; returns nothing."""

    def __init__(self):
        super().__init__()
        self.value = None

    def forward(self, posterior):
        mean, log_var, _ = posterior
        self.value = 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(1).mean()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.regulariser = Regulariser()
        self.decoder = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 12))

    def forward(self, x, noise):
        posterior = self.encoder(x)
        self.regulariser(posterior)
        z = posterior.mean + (0.5 * posterior.log_var).exp() * noise
        return {"x": self.decoder.forward(z), "parts": [z, (posterior, None)]}


torch.manual_seed(8)
model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-3)
rng = np.random.RandomState(8)
for step in range(3):
    x = torch.from_numpy(rng.rand(10, 12).astype(np.float32))
    noise = torch.from_numpy(rng.randn(10, 3).astype(np.float32))
    out = model.forward(x, noise)
    loss = nn.functional.mse_loss(out["x"], x) + 0.1 * model.regulariser.value
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
