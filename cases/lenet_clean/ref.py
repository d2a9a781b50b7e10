"""LeNet-5 on small rendered digits (no download needed)."""
import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

# seven-segment layout: top, top-left, top-right, middle, bottom-left, bottom-right, bottom
SEGMENTS = {
    0: "1110111", 1: "0010010", 2: "1011101", 3: "1011011", 4: "0111010",
    5: "1101011", 6: "1101111", 7: "1010010", 8: "1111111", 9: "1111011",
}


def render(digit, rng):
    """draw one digit on a 28 x 28 canvas with a random shift, stroke width and noise"""
    img = np.zeros((28, 28), dtype=np.float32)
    dy, dx = rng.randint(-3, 4, size=2)
    w = rng.randint(2, 4)
    y0, y1, y2, x0, x1 = 5 + dy, 13 + dy, 21 + dy, 9 + dx, 18 + dx
    boxes = [(y0, y0 + w, x0, x1 + w), (y0, y1 + w, x0, x0 + w), (y0, y1 + w, x1, x1 + w),
             (y1, y1 + w, x0, x1 + w), (y1, y2 + w, x0, x0 + w), (y1, y2 + w, x1, x1 + w),
             (y2, y2 + w, x0, x1 + w)]
    for on, (a, b, c, d) in zip(SEGMENTS[digit], boxes):
        if on == "1":
            img[a:b, c:d] = 1.0
    img += rng.normal(0.0, 0.15, size=img.shape)
    return np.clip(img, 0.0, 1.0).astype(np.float32)


class SyntheticDigits(Dataset):
    def __init__(self, n, seed=1998):
        rng = np.random.RandomState(seed)
        self.labels = rng.randint(0, 10, size=n)
        self.images = np.stack([render(int(d), rng) for d in self.labels])
        self.images = (self.images - 0.1307) / 0.3081

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i][None].astype(np.float32), int(self.labels[i])


class LeNet5(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.9)
    args = parser.parse_args()

    torch.manual_seed(1)
    loader = DataLoader(SyntheticDigits(100), batch_size=args.batch_size, shuffle=True, drop_last=True)
    model = LeNet5()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    criterion = nn.CrossEntropyLoss()

    model.train()
    for epoch in range(args.epochs):
        for i, (images, target) in enumerate(loader):
            optimizer.zero_grad()
            loss = criterion(model(images), target)
            loss.backward()
            optimizer.step()
            print(f"epoch {epoch} batch {i}: loss {loss.item():.5f}")


if __name__ == "__main__":
    main()
