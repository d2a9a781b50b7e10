"""Depthwise-separable CNN on generated colour textures.

Usage: python ref.py [--batch_size N]
"""
from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN = np.array([0.48, 0.46, 0.41], dtype=np.float32)
STD = np.array([0.25, 0.24, 0.26], dtype=np.float32)


class Textures(Dataset):
    """uint8 HWC pictures, six kinds of stripes and checks"""

    def __init__(self, n: int, seed: int):
        rng = np.random.RandomState(seed)
        yy, xx = np.mgrid[0:20, 0:20]
        patterns = [xx % 4 < 2, yy % 4 < 2, (xx + yy) % 4 < 2,
                    (xx // 2 + yy // 2) % 2 == 0, xx % 8 < 4, yy % 8 < 4]
        self.label = rng.randint(0, 6, n)
        self.image = np.empty((n, 20, 20, 3), dtype=np.uint8)
        for i in range(n):
            fg, bg = rng.randint(0, 256, (2, 3))
            img = np.where(patterns[self.label[i]][..., None], fg, bg)
            self.image[i] = np.clip(img + rng.randint(-20, 21, img.shape), 0, 255)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        x = self.image[i].astype(np.float32) / 255.0
        x = (x - MEAN) / STD
        return torch.from_numpy(x).permute(2, 0, 1), int(self.label[i])


def separable(cin: int, cout: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False),
        nn.BatchNorm2d(cin),
        nn.ReLU6(inplace=True),
        nn.Conv2d(cin, cout, 1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU6(inplace=True),
    )


class TinyMobileNet(nn.Module):
    def __init__(self, num_classes: int = 6):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True))
        self.body = nn.Sequential(separable(16, 24, 2), separable(24, 32, 1), separable(32, 48, 2))
        self.classifier = nn.Linear(48, num_classes)

    def forward(self, x):
        x = self.body(self.stem(x))
        return self.classifier(x.mean(dim=(2, 3)))


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    correct = total = 0
    for x, y in loader:
        correct += (model(x).argmax(dim=1) == y).sum().item()
        total += len(y)
    return correct / total


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--batch_size", type=int, default=12)
    ap.add_argument("--epochs", type=int, default=1)
    ap.add_argument("--lr", type=float, default=0.03)
    a = ap.parse_args()

    torch.manual_seed(99)
    train_loader = DataLoader(Textures(64, seed=1), batch_size=a.batch_size, drop_last=True)
    test_loader = DataLoader(Textures(24, seed=2), batch_size=a.batch_size)
    model = TinyMobileNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=a.lr, momentum=0.9)

    for epoch in range(1, a.epochs + 1):
        model.train()
        for i, (x, y) in enumerate(train_loader, 1):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"epoch: {epoch} step: {i}, loss is {loss.item():.5f}")
    print("accuracy:", evaluate(model, test_loader))


if __name__ == "__main__":
    main()
