# U-Net for toy segmentation (MindSpore)
import math

import numpy as np
import mindspore as ms
from mindspore import Tensor, nn, ops

SIZE = 32
CLASSES = 3
BATCH_SIZE = 6
ITERATIONS = 6
LR = 0.05


class ConvBlock(nn.Cell):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, pad_mode="pad", padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, pad_mode="pad", padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def construct(self, x):
        x = ops.relu(self.bn1(self.conv1(x)))
        return ops.relu(self.bn2(self.conv2(x)))


class UpBlock(nn.Cell):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = ConvBlock(in_channels, out_channels)

    def construct(self, x, skip):
        x = ops.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True,
                            recompute_scale_factor=True)
        return self.conv(ops.cat((skip, x), axis=1))


class UNet(nn.Cell):
    def __init__(self, n_channels=1, n_classes=CLASSES, width=8):
        super().__init__()
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.enc1 = ConvBlock(n_channels, width)
        self.enc2 = ConvBlock(width, width * 2)
        self.bottom = ConvBlock(width * 2, width * 3)
        self.dec2 = UpBlock(width * 3 + width * 2, width * 2)
        self.dec1 = UpBlock(width * 2 + width, width)
        self.head = nn.Conv2d(width, n_classes, 1, has_bias=True)

    def construct(self, x):
        x1 = self.enc1(x)
        x2 = self.enc2(self.pool(x1))
        x3 = self.bottom(self.pool(x2))
        x = self.dec2(x3, x2)
        x = self.dec1(x, x1)
        return self.head(x)


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
    ms.set_seed(0)
    rng = np.random.RandomState(1234)
    net = UNet()
    lr = nn.cosine_decay_lr(min_lr=0.0, max_lr=LR, total_step=ITERATIONS, step_per_epoch=1,
                            decay_epoch=ITERATIONS)
    params = [{"params": net.trainable_params(), "weight_decay": 1e-4}]
    optimizer = nn.SGD(params, learning_rate=lr, momentum=0.9)

    def forward(image, mask):
        return ops.cross_entropy(net(image), mask)

    step_fn = ms.value_and_grad(forward, None, net.trainable_params())
    net.set_train()
    for it in range(ITERATIONS):
        image, mask = sample_batch(rng)
        loss, grads = step_fn(Tensor(image), Tensor(mask, ms.int32))
        optimizer(grads)
        loss = loss.item()
        print("iteration %d, pixel loss %.5f, perplexity %.3f" % (it, loss, math.exp(loss)))


if __name__ == "__main__":
    main()
