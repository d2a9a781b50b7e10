"""Pre-activation ResNet for tiny images (He et al. 2016, "Identity mappings"), PyTorch."""
import math
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

cfg = dict(
    stages=[(12, 2, 1), (24, 2, 2), (32, 1, 2)],   # channels, blocks, stride
    num_classes=8,
    batch=8,
    iters=5,
    lr=0.05,
    momentum=0.9,
    wd=5e-4,
)


class PreActBlock(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, stride=1, padding=1, bias=False)
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False)

    def forward(self, x):
        out = F.relu(self.bn1(x))
        # shortcut first: it only needs the pre-activation
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + shortcut


class PreActResNet(nn.Module):
    def __init__(self, stages, num_classes):
        super().__init__()
        c = stages[0][0]
        self.conv1 = nn.Conv2d(3, c, 3, padding=1, bias=False)
        for n, (width, depth, stride) in enumerate(stages, 1):
            blocks = []
            for d in range(depth):
                blocks.append(PreActBlock(c, width, stride if d == 0 else 1))
                c = width
            setattr(self, f"layer{n}", nn.Sequential(*blocks))
        self.num_stages = len(stages)
        self.bn = nn.BatchNorm2d(c)
        self.linear = nn.Linear(c, num_classes)
        self.reset_parameters()

    def reset_parameters(self):
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                fan_out = m.out_channels * m.kernel_size[0] * m.kernel_size[1]
                nn.init.normal_(m.weight, 0.0, math.sqrt(2.0 / fan_out))

    def forward(self, x):
        out = self.conv1(x)
        for n in range(1, self.num_stages + 1):
            out = getattr(self, f"layer{n}")(out)
        out = F.relu(self.bn(out))
        out = F.avg_pool2d(out, out.shape[-1])
        return self.linear(out.view(out.size(0), -1))


def sinusoid_textures(total, num_classes, size=24):
    """classification of oriented gratings"""
    r = np.random.RandomState(2016)
    yy, xx = np.mgrid[0:size, 0:size] / size
    y = r.randint(0, num_classes, total)
    x = np.zeros((total, 3, size, size), np.float32)
    for i in range(total):
        ang = np.pi * y[i] / num_classes
        phase = r.rand(3, 1, 1) * 2 * np.pi
        wave = np.sin(2 * np.pi * 3 * (np.cos(ang) * xx + np.sin(ang) * yy)[None] + phase)
        x[i] = wave + 0.4 * r.randn(3, size, size)
    return x, y


def main():
    torch.manual_seed(123)
    x, y = sinusoid_textures(cfg["batch"] * cfg["iters"], cfg["num_classes"])
    net = PreActResNet(cfg["stages"], cfg["num_classes"])
    optimizer = torch.optim.SGD(net.parameters(), lr=cfg["lr"], momentum=cfg["momentum"],
                                weight_decay=cfg["wd"])
    net.train()
    b = cfg["batch"]
    for it in range(cfg["iters"]):
        inputs = torch.tensor(x[it * b:(it + 1) * b])
        targets = torch.tensor(y[it * b:(it + 1) * b], dtype=torch.long)
        loss = F.cross_entropy(net(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        sys.stdout.write("[%d/%d] loss=%.4f%s" % (it + 1, cfg["iters"], loss.item(), os.linesep))


if __name__ == "__main__":
    main()
