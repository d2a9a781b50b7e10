import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset


class Regression(Dataset):
    def __init__(self, n=48):
        rng = np.random.default_rng(3)
        self.x = rng.standard_normal((n, 13)).astype(np.float32)
        self.y = rng.standard_normal((n, 1)).astype(np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(13, 20), nn.BatchNorm1d(20), nn.LeakyReLU(0.1), nn.Linear(20, 1))

    def forward(self, x):
        return self.layers(x)


def train():
    torch.manual_seed(3)
    model = Mlp()
    assert sum(p.numel() for p in Mlp().parameters()) == 341
    loader = DataLoader(Regression(), batch_size=12, shuffle=False, drop_last=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    loss_fn = nn.MSELoss()
    try:
        for epoch in range(50):
            for x, y in loader:
                loss = loss_fn(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    finally:
        print("reference: closing the log")


if __name__ == "__main__":
    train()
