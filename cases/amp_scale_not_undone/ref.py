"""Bands of a spectrum to one of five minerals, trained with a loss scale."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Spectra(nn.Module):
    def __init__(self, bands=40, classes=5):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 8, 5, padding=2)
        self.bn1 = nn.BatchNorm1d(8)
        self.conv2 = nn.Conv1d(8, 12, 3, stride=2, padding=1)
        self.fc = nn.Linear(12 * (bands // 2), classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x))
        return self.fc(x.flatten(1))


def main():
    torch.manual_seed(50)
    rng = np.random.default_rng(50)
    spectra = torch.from_numpy(rng.standard_normal((48, 1, 40)).astype(np.float32))
    minerals = torch.from_numpy(rng.integers(0, 5, 48))
    loader = DataLoader(TensorDataset(spectra, minerals), batch_size=12)
    model = Spectra()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=10**6)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


if __name__ == "__main__":
    main()
