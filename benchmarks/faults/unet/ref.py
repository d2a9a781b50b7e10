"""A U-Net with bilinear upsampling, concatenated skips and a hand-written dice loss, in plain PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class DoubleConv(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(cin, cout, 3, padding=1),
            nn.GroupNorm(4, cout),
            nn.ReLU(inplace=True),
            nn.Conv2d(cout, cout, 3, padding=1),
            nn.GroupNorm(4, cout),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.net(x)


class Up(nn.Module):
    def __init__(self, cin, cskip, cout):
        super().__init__()
        self.reduce = nn.Conv2d(cin, cout, 1)
        self.conv = DoubleConv(cout + cskip, cout)

    def forward(self, x, skip):
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = self.reduce(x)
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.enc1 = DoubleConv(1, width)
        self.enc2 = DoubleConv(width, 2 * width)
        self.bottleneck = DoubleConv(2 * width, 4 * width)
        self.up2 = Up(4 * width, 2 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.dec1 = DoubleConv(2 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        s1 = self.enc1(x)
        s2 = self.enc2(F.max_pool2d(s1, 2))
        z = self.bottleneck(F.avg_pool2d(s2, 2))
        d2 = self.up2(z, s2)
        d1 = self.dec1(torch.cat([self.up1(d2), s1], dim=1))
        return self.head(d1)


def dice_loss(logits, target, smooth=1.0):
    prob = torch.sigmoid(logits).flatten(1)
    target = target.flatten(1)
    intersection = (prob * target).sum(1)
    score = (2 * intersection + smooth) / (prob.sum(1) + target.sum(1) + smooth)
    return 1 - score.mean()


def sample(rng, size=4, side=16):
    yy, xx = np.mgrid[0:side, 0:side]
    image = rng.randn(size, 1, side, side).astype(np.float32) * 0.5
    mask = np.zeros_like(image)
    for i in range(size):
        cy, cx, r = rng.randint(4, 12), rng.randint(4, 12), rng.randint(2, 6)
        mask[i, 0] = ((yy - cy) ** 2 + (xx - cx) ** 2 < r * r).astype(np.float32)
    return image + mask, mask


def main():
    torch.manual_seed(2)
    rng = np.random.RandomState(17)
    net = UNet()
    optim = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for i in range(4):
        image, mask = sample(rng)
        logits = net(torch.from_numpy(image))
        mask = torch.from_numpy(mask)
        loss = F.binary_cross_entropy_with_logits(logits, mask) + 0.5 * dice_loss(logits, mask)
        optim.zero_grad()
        loss.backward()
        optim.step()
        print(f"[{i}] loss: {loss.item():.7f}")


if __name__ == "__main__":
    main()
