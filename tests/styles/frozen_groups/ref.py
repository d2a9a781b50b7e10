import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.neck = nn.Linear(4 * 36, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.backbone(x)
        x = torch.relu(self.neck(torch.flatten(x, 1)))
        return self.head(x)


class Trainer:
    def __init__(self, lr):
        torch.manual_seed(7)
        self.net = Net()
        for p in self.net.backbone.parameters():
            p.requires_grad = False
        self.opt = torch.optim.SGD(
            [{"params": self.net.neck.parameters(), "lr": lr}, {"params": self.net.head.parameters(), "lr": 10 * lr}],
            momentum=0.9,
        )

    def fit(self, loader):
        self.net.train()
        for x, y in loader:
            self.opt.zero_grad()
            loss = F.cross_entropy(self.net(x), y)
            loss.backward()
            self.opt.step()
            print(float(loss))


if __name__ == "__main__":
    rs = np.random.RandomState(5)
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(rs.rand(24, 1, 8, 8).astype("f")), torch.from_numpy(rs.randint(0, 5, 24))
    )
    Trainer(0.01).fit(torch.utils.data.DataLoader(data, batch_size=6))
