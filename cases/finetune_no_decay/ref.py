"""Fine-tuning: a frozen stem, a backbone with a small learning rate and a new head with a large one."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Stage(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = F.leaky_relu(self.conv1(x), 0.1)
        return F.leaky_relu(self.bn(self.conv2(x)), 0.1)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.Sequential(Stage(8, 16), Stage(16, 24))

    def forward(self, x):
        return self.stages(torch.relu(self.stem(x)))


class Classifier(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.backbone = Backbone()
        self.hidden = nn.Linear(24, 20)
        self.out = nn.Linear(20, num_classes)
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = self.backbone(x).mean(dim=(2, 3))
        return self.out(torch.tanh(self.hidden(x))) * self.temperature


def batches(n, batch_size=10):
    """four classes of coloured corners"""
    rng = np.random.RandomState(11)
    for _ in range(n):
        y = rng.randint(0, 4, batch_size)
        x = rng.normal(0, 0.5, (batch_size, 3, 16, 16))
        for i, label in enumerate(y):
            top, left = divmod(label, 2)
            x[i, label % 3, 8 * top:8 * top + 8, 8 * left:8 * left + 8] += 1.5
        yield torch.tensor(x, dtype=torch.float32), torch.tensor(y)


torch.manual_seed(2)
net = Classifier()
for p in net.backbone.stem.parameters():
    p.requires_grad = False

backbone = [p for p in net.backbone.parameters() if p.requires_grad]
head = [*net.hidden.parameters(), *net.out.parameters(), net.temperature]
optimizer = torch.optim.SGD(
    [{"params": backbone, "lr": 0.01}, {"params": head, "weight_decay": 0.0}],
    lr=0.1, momentum=0.9, weight_decay=5e-3,
)

net.train()
for step, (x, y) in enumerate(batches(6)):
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"[{step}] {loss.item():.4f}")
