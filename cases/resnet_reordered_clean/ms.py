"""预激活 ResNet (pre-activation), MindSpore 版本。"""
import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal

# 网络结构: 每个阶段 (通道数, 残差块数, 步长)
STRUCTURE = ((12, 2, 1), (24, 2, 2), (32, 1, 2))
CLASS_NUM = 8
BATCH_SIZE = 8
TRAIN_STEPS = 5


def _conv(cin, cout, k, s=1):
    return nn.Conv2d(cin, cout, kernel_size=k, stride=s, pad_mode="pad", padding=(k - 1) // 2,
                     weight_init=HeNormal(mode="fan_out", nonlinearity="relu"))


def _bn(c):
    return nn.BatchNorm2d(c, eps=1e-5, momentum=0.9)


class Unit(nn.Cell):
    """归一化 -> 激活 -> (主分支, 捷径)"""

    def __init__(self, cin, cout, s):
        super().__init__()
        self.preact = nn.SequentialCell([_bn(cin), nn.ReLU()])
        # 3x3 conv, bn, relu, 3x3 conv
        self.residual = nn.SequentialCell([
            nn.SequentialCell([_conv(cin, cout, 3, s), _bn(cout)]),
            nn.ReLU(),
            _conv(cout, cout, 3),
        ])
        self.need_proj = s != 1 or cin != cout
        if self.need_proj:
            self.proj = _conv(cin, cout, 1, s)

    def construct(self, x):
        a = self.preact(x)
        main = self.residual(a)
        if self.need_proj:
            x = self.proj(a)
        return ops.add(x, main)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        cin = STRUCTURE[0][0]
        self.stem = _conv(3, cin, 3)
        trunk = []
        for cout, num, s in STRUCTURE:
            for i in range(num):
                trunk.append(Unit(cin, cout, s if i == 0 else 1))
                cin = cout
        self.trunk = nn.SequentialCell(trunk)           # 所有残差块放在同一个序列中
        self.tail = nn.SequentialCell([_bn(cin), nn.ReLU()])
        self.classifier = nn.Dense(cin, CLASS_NUM)

    def construct(self, img):
        feat = self.tail(self.trunk(self.stem(img)))
        feat = feat.mean(axis=(2, 3))                   # 全局平均池化
        return self.classifier(feat)


def grating_data(total, size=24):
    r = np.random.RandomState(2016)
    yy, xx = np.mgrid[0:size, 0:size] / size
    y = r.randint(0, CLASS_NUM, total)
    x = np.zeros((total, 3, size, size), np.float32)
    for i in range(total):
        ang = np.pi * y[i] / CLASS_NUM
        phase = r.rand(3, 1, 1) * 2 * np.pi
        wave = np.sin(2 * np.pi * 3 * (np.cos(ang) * xx + np.sin(ang) * yy)[None] + phase)
        x[i] = wave + 0.4 * r.randn(3, size, size)
    return x, y.astype(np.int32)


def train():
    ms.set_seed(123)
    net = Net()
    loss_fn = nn.CrossEntropyLoss()
    # 单独一个参数组: 否则 gamma/beta 不参与 weight decay
    group = [{"params": net.trainable_params(), "weight_decay": 5e-4}]
    optimizer = nn.Momentum(group, learning_rate=0.05, momentum=0.9)

    def forward_fn(img, label):
        logits = net(img)
        return loss_fn(logits, label), logits

    grad_fn = ms.value_and_grad(forward_fn, None, optimizer.parameters, has_aux=True)

    net.set_train(True)
    x, y = grating_data(BATCH_SIZE * TRAIN_STEPS)
    for step in range(TRAIN_STEPS):
        batch = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        (loss, _), grads = grad_fn(Tensor(x[batch]), Tensor(y[batch]))
        optimizer(grads)
        print("step: %d, loss: %s" % (step + 1, loss.asnumpy()))


if __name__ == "__main__":
    train()
