"""
Tabular regression with a learned feature rotation.

All the initial weights come from numpy so that ports to other frameworks can start
from exactly the same point (weights are stored as (out_features, in_features)).
"""
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

FEATURES, WIDTH = 14, 28


def initial_weights(seed=4):
    rng = np.random.RandomState(seed)

    def dense(out_features, in_features):
        return (rng.randn(out_features, in_features) / np.sqrt(in_features)).astype(np.float32)

    skew = rng.randn(WIDTH, WIDTH) * 0.3
    rotation, _ = np.linalg.qr(np.eye(WIDTH) + skew - skew.T)
    return {
        "expand": dense(WIDTH, FEATURES),
        "rotate": rotation.astype(np.float32),
        "mix": dense(WIDTH, WIDTH),
        "score": dense(1, WIDTH),
    }


class RotationNet(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.expand = nn.Linear(FEATURES, WIDTH)
        self.rotate = nn.Linear(WIDTH, WIDTH, bias=False)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.score = nn.Linear(WIDTH, 1)
        self.act = nn.SiLU()
        with torch.no_grad():
            for name, value in w.items():
                layer = getattr(self, name)
                layer.weight.copy_(torch.from_numpy(value))
                if layer.bias is not None:
                    layer.bias.zero_()

    def forward(self, x):
        h = self.act(self.expand(x))
        h = self.act(self.rotate(h))
        h = h + self.act(self.mix(h))
        return self.score(h).squeeze(-1)


def table(n=75, seed=12):
    rng = np.random.RandomState(seed)
    x = rng.randn(n, FEATURES).astype(np.float32)
    y = np.sin(x[:, 0] * x[:, 1]) + 0.5 * x[:, 2:5].sum(1) - np.abs(x[:, 7])
    return x, y.astype(np.float32)


def fit(model, loader, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    loss_fn = nn.SmoothL1Loss()
    model.train()
    history = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


if __name__ == "__main__":
    x, y = table()
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=15, shuffle=False)
    history = fit(RotationNet(initial_weights()), loader, lr=0.03)
    print("losses:", " ".join(f"{v:.5f}" for v in history))
