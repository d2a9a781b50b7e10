"""Leaf-disease classifier: small CNN on generated RGB patches, normalised in the Dataset."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN = (0.42, 0.51, 0.33)
STD = (0.19, 0.21, 0.17)


def draw_leaves(n, seed=21):
    rng = np.random.RandomState(seed)
    label = rng.randint(0, 4, n)
    yy, xx = np.mgrid[0:24, 0:24] - 12
    image = np.empty((n, 24, 24, 3), np.uint8)
    for i, kind in enumerate(label):
        leaf = (xx / rng.uniform(5, 10)) ** 2 + (yy / rng.uniform(5, 10)) ** 2 < 1
        spots = rng.rand(24, 24) < 0.05 * kind
        base = np.where(leaf[..., None], [60, 150, 50], [150, 140, 110])
        base = np.where((leaf & spots)[..., None], [120, 80, 30], base)
        image[i] = np.clip(base + rng.randint(-15, 16, base.shape), 0, 255)
    return image, label


class Leaves(Dataset):
    def __init__(self, n):
        self.image, self.label = draw_leaves(n)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        x = torch.from_numpy(self.image[i]).permute(2, 0, 1).float().div(255)
        x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        return x, int(self.label[i])


class LeafNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.head = nn.Linear(16 * 6 * 6, 4)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


if __name__ == "__main__":
    torch.manual_seed(9)
    train_loader = DataLoader(Leaves(48), batch_size=12)
    net = LeafNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        print(step, loss.item())
