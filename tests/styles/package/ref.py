"""Run with `python -m package.ref`."""

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from . import settings
from .nets.torch_net import build


def main():
    model = build(4)
    rng = np.random.default_rng(settings.SEED)
    x = torch.from_numpy(rng.random((40, 3, 8, 8), dtype=np.float32))
    y = torch.from_numpy(rng.integers(0, 4, 40))
    loader = DataLoader(TensorDataset(x, y), batch_size=settings.BATCH, num_workers=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.RATE, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
