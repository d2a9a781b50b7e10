"""A small convolutional classifier with BatchNorm and pooling, in plain PyTorch."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 3, padding=2, dilation=2),
            nn.BatchNorm2d(24),
            nn.LeakyReLU(0.1),
            nn.AvgPool2d(3, stride=2, padding=1),
            nn.Conv2d(24, 32, 3, padding=1, groups=4),
            nn.BatchNorm2d(32),
            nn.Hardswish(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 48),
            nn.ReLU(),
            nn.Linear(48, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


def make_data(n=32):
    rng = np.random.RandomState(11)
    images = rng.uniform(0.0, 1.0, (n, 3, 16, 16)).astype(np.float32)
    images = (images - 0.5) / 0.25
    labels = rng.randint(0, 10, n).astype(np.int64)
    return images, labels


def main():
    torch.manual_seed(0)
    images, labels = make_data()
    loader = DataLoader(TensorDataset(torch.from_numpy(images), torch.from_numpy(labels)), batch_size=8)
    net = ConvNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        print(f"step {step} loss {loss.item():.7f}")


if __name__ == "__main__":
    main()
