# coding: utf-8
# All-convolutional LeNet variant: the pooling layers are replaced by strided convolutions.
import numpy as np
import torch
from torch import nn


def make_glyphs(num, size=28, num_classes=10, seed=42):
    """each class is a smooth random prototype; a sample is a rolled, noisy copy of it"""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((num_classes, 7, 7))
    protos = coarse.repeat(4, axis=1).repeat(4, axis=2)
    labels = rng.integers(0, num_classes, size=num)
    out = np.empty((num, 1, size, size), dtype=np.float32)
    for k, lab in enumerate(labels):
        sy, sx = rng.integers(-2, 3, size=2)
        out[k, 0] = np.roll(protos[lab], (sy, sx), axis=(0, 1)) + 0.3 * rng.standard_normal((size, size))
    return out, labels.astype(np.int64)


class ConvLeNet(nn.Module):

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 16, kernel_size=3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 24, kernel_size=5, padding=0),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(24 * 5 * 5, 64),
            nn.Tanh(),
            nn.Linear(64, 10),
        )

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


BATCH, LR, STEPS = 8, 0.02, 5

torch.manual_seed(7)
images, labels = make_glyphs(BATCH * STEPS)
net = ConvLeNet()
opt = torch.optim.SGD(net.parameters(), lr=LR)
loss_fn = nn.CrossEntropyLoss()

net.train()
for it in range(STEPS):
    sl = slice(it * BATCH, (it + 1) * BATCH)
    x, y = torch.from_numpy(images[sl]), torch.from_numpy(labels[sl])
    loss = loss_fn(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print("iter", it, "loss", round(loss.item(), 5))
