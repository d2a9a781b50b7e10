# coding: utf-8
# All-convolutional LeNet variant, converted to MindSpore.
import numpy as np
import mindspore as ms
from mindspore import Tensor, nn


def make_glyphs(num, size=28, num_classes=10, seed=42):
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((num_classes, 7, 7))
    protos = coarse.repeat(4, axis=1).repeat(4, axis=2)
    labels = rng.integers(0, num_classes, size=num)
    out = np.empty((num, 1, size, size), dtype=np.float32)
    for k, lab in enumerate(labels):
        sy, sx = rng.integers(-2, 3, size=2)
        out[k, 0] = np.roll(protos[lab], (sy, sx), axis=(0, 1)) + 0.3 * rng.standard_normal((size, size))
    return out, labels.astype(np.int32)


class ConvLeNet(nn.Cell):

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, has_bias=True)
        self.down = nn.Conv2d(8, 16, 3, stride=2, has_bias=True)
        self.conv3 = nn.Conv2d(16, 24, 5, pad_mode="valid", has_bias=True)
        self.pool = nn.AvgPool2d(2, 2)
        self.act = nn.ReLU()
        self.fc1 = nn.Dense(24 * 5 * 5, 64, activation="tanh")
        self.fc2 = nn.Dense(64, 10)

    def construct(self, x):
        x = self.act(self.conv1(x))
        x = self.act(self.down(x))
        x = self.pool(self.act(self.conv3(x)))
        x = x.view(x.shape[0], -1)
        return self.fc2(self.fc1(x))


BATCH, LR, STEPS = 8, 0.02, 5

ms.set_seed(7)
images, labels = make_glyphs(BATCH * STEPS)
net = ConvLeNet()
opt = nn.SGD(net.trainable_params(), learning_rate=LR)
loss_fn = nn.CrossEntropyLoss()


def forward_fn(data, label):
    return loss_fn(net(data), label)


grad_fn = ms.value_and_grad(forward_fn, None, opt.parameters)

net.set_train()
for it in range(STEPS):
    sl = slice(it * BATCH, (it + 1) * BATCH)
    loss, grads = grad_fn(Tensor(images[sl]), Tensor(labels[sl]))
    opt(grads)
    print("iter", it, "loss", round(float(loss), 5))
