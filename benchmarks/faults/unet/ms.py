"""A U-Net with bilinear upsampling, concatenated skips and a hand-written dice loss, ported to MindSpore."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops


class ConvUnit(nn.Cell):
    def __init__(self, cin, cout):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, pad_mode="pad", padding=1, has_bias=True)
        self.norm = nn.GroupNorm(4, cout)

    def construct(self, x):
        return ops.relu(self.norm(self.conv(x)))


class DoubleConv(nn.Cell):
    def __init__(self, cin, cout):
        super().__init__()
        self.first = ConvUnit(cin, cout)
        self.second = ConvUnit(cout, cout)

    def construct(self, x):
        return self.second(self.first(x))


class UpBlock(nn.Cell):
    def __init__(self, cin, cskip, cout):
        super().__init__()
        self.squeeze = nn.Conv2d(cin, cout, 1, has_bias=True)
        self.fuse = DoubleConv(cout + cskip, cout)

    def construct(self, x, skip):
        size = (x.shape[2] * 2, x.shape[3] * 2)
        x = ops.interpolate(x, size=size, mode="bilinear", align_corners=False)
        x = self.squeeze(x)
        x = ops.concat([skip, x], axis=1)
        return self.fuse(x)


class UNet(nn.Cell):
    def __init__(self, width=8):
        super().__init__()
        self.down1 = DoubleConv(1, width)
        self.down2 = DoubleConv(width, 2 * width)
        self.middle = DoubleConv(2 * width, 4 * width)
        self.up_block = UpBlock(4 * width, 2 * width, 2 * width)
        self.up_conv = nn.Conv2dTranspose(2 * width, width, 2, stride=2, pad_mode="valid", has_bias=True)
        self.last = DoubleConv(2 * width, width)
        self.head = nn.Conv2d(width, 1, 1, has_bias=True)

    def construct(self, x):
        skip1 = self.down1(x)
        skip2 = self.down2(ops.max_pool2d(skip1, 2, 2))
        z = self.middle(ops.avg_pool2d(skip2, 2, 2))
        up2 = self.up_block(z, skip2)
        up1 = self.up_conv(up2)
        merged = ops.concat([up1, skip1], axis=1)
        return self.head(self.last(merged))


def dice_loss(logits, target, smooth=1.0):
    prob = ops.sigmoid(logits).reshape(logits.shape[0], -1)
    target = target.reshape(target.shape[0], -1)
    intersection = (prob * target).sum(1)
    score = (2 * intersection + smooth) / (prob.sum(1) + target.sum(1) + smooth)
    return 1 - score.mean()


class TrainStep(nn.Cell):
    def __init__(self, net, optim):
        super().__init__()
        self.net = net
        self.optim = optim
        self.bce = nn.BCEWithLogitsLoss()
        self.grad = ops.GradOperation(get_by_list=True)
        self.net.set_grad()

    def loss(self, image, mask):
        logits = self.net(image)
        return self.bce(logits, mask) + 0.5 * dice_loss(logits, mask)

    def construct(self, image, mask):
        loss = self.loss(image, mask)
        grads = self.grad(self.loss, self.optim.parameters)(image, mask)
        self.optim(grads)
        return loss


def sample(rng, size=4, side=16):
    yy, xx = np.mgrid[0:side, 0:side]
    image = rng.randn(size, 1, side, side).astype(np.float32) * 0.5
    mask = np.zeros_like(image)
    for i in range(size):
        cy, cx, r = rng.randint(4, 12), rng.randint(4, 12), rng.randint(2, 6)
        mask[i, 0] = ((yy - cy) ** 2 + (xx - cx) ** 2 < r * r).astype(np.float32)
    return image + mask, mask


def main():
    ms.set_seed(2)
    rng = np.random.RandomState(17)
    net = UNet()
    optim = nn.Momentum(net.trainable_params(), learning_rate=0.05, momentum=0.9)
    step = TrainStep(net, optim)
    step.set_train()
    for i in range(4):
        image, mask = sample(rng)
        loss = step(ms.Tensor(image), ms.Tensor(mask))
        print(f"[{i}] loss: {loss.item():.7f}")


if __name__ == "__main__":
    main()
