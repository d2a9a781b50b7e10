# U-Net for toy segmentation: background / disc / square
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SIZE = 32
CLASSES = 3
BATCH_SIZE = 6
ITERATIONS = 6
LR = 0.05


class DoubleConv(nn.Module):
    """(conv => BN => ReLU) * 2"""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    """max-pool, then double conv"""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    """bilinear upsampling, concatenation with the skip connection, double conv"""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x, skip):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self, n_channels=1, n_classes=CLASSES, width=8):
        super().__init__()
        self.inc = DoubleConv(n_channels, width)
        self.down1 = Down(width, width * 2)
        self.down2 = Down(width * 2, width * 3)
        self.up1 = Up(width * 3 + width * 2, width * 2)
        self.up2 = Up(width * 2 + width, width)
        self.outc = nn.Conv2d(width, n_classes, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.up1(x3, x2)
        x = self.up2(x, x1)
        return self.outc(x)


def draw(rng):
    yy, xx = np.mgrid[0:SIZE, 0:SIZE]
    mask = np.zeros((SIZE, SIZE), np.int64)
    cy, cx = rng.uniform(8, 24, 2)
    mask[(yy - cy) ** 2 + (xx - cx) ** 2 < rng.uniform(3, 7) ** 2] = 1
    top, left = rng.randint(2, 20, 2)
    side = rng.randint(5, 10)
    mask[top:top + side, left:left + side] = 2
    image = np.array([0.0, 0.5, 1.0])[mask] + 0.2 * rng.randn(SIZE, SIZE)
    return image[None].astype(np.float32), mask


def sample_batch(rng):
    pairs = [draw(rng) for _ in range(BATCH_SIZE)]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def main():
    torch.manual_seed(0)
    rng = np.random.RandomState(1234)
    net = UNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=ITERATIONS)
    net.train()
    for it in range(ITERATIONS):
        image, mask = sample_batch(rng)
        pred = net(torch.from_numpy(image))
        loss = F.cross_entropy(pred, torch.from_numpy(mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        print("iteration %d, pixel loss %.5f, perplexity %.3f" % (it, loss.item(), math.exp(loss.item())))


if __name__ == "__main__":
    main()
