"""A classifier trained with groups, warmup, accumulation and clipping, in plain PyTorch."""

import numpy as np
import torch
from torch import nn

WARMUP, ACCUMULATE, MAX_NORM = 4, 2, 0.5


class Net(nn.Module):
    def __init__(self, features=12, hidden=24, classes=5):
        super().__init__()
        self.stem = nn.Linear(features, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        x = torch.relu(self.norm1(self.stem(x)))
        x = x + torch.relu(self.norm2(self.middle(x)))
        return self.head(x)


def main():
    torch.manual_seed(0)
    rng = np.random.RandomState(21)
    model = Net()
    criterion = nn.CrossEntropyLoss()
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 5e-3}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))
    model.train()
    for step in range(3):
        optimizer.zero_grad()
        for _ in range(ACCUMULATE):
            x = torch.from_numpy(rng.randn(8, 12).astype(np.float32))
            y = torch.from_numpy(rng.randint(0, 5, 8))
            loss = criterion(model(x), y) / ACCUMULATE
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        scheduler.step()
        print(f"step {step} loss {loss.item():.7f}")


if __name__ == "__main__":
    main()
