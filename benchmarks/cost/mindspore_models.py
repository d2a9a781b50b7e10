"""A ResNet-18-size network or a 6-layer transformer, trained in MindSpore; prints the CPU seconds of each step."""

import resource
import sys
import time

import mindspore as ms
import numpy as np
from mindspore import nn, ops


def conv(given, made, size, stride):
    return nn.Conv2d(given, made, size, stride, pad_mode="pad", padding=size // 2)


class Block(nn.Cell):
    def __init__(self, given, made, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(given, made, 3, stride), nn.BatchNorm2d(made)
        self.conv2, self.bn2 = conv(made, made, 3, 1), nn.BatchNorm2d(made)
        self.relu = nn.ReLU()
        same = stride == 1 and given == made
        self.down = None if same else nn.SequentialCell(conv(given, made, 1, stride), nn.BatchNorm2d(made))

    def construct(self, x):
        short = x if self.down is None else self.down(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + short)


class ResNet(nn.Cell):
    def __init__(self):
        super().__init__()
        layers, given = [conv(3, 64, 3, 1), nn.BatchNorm2d(64), nn.ReLU()], 64
        for made, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [Block(given, made, stride), Block(made, made, 1)]
            given = made
        self.body = nn.SequentialCell(*layers)
        self.fc = nn.Dense(512, 10)

    def construct(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class Layer(nn.Cell):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm((width,), epsilon=1e-5), nn.LayerNorm((width,), epsilon=1e-5)
        self.q, self.k, self.v, self.o = (nn.Dense(width, width) for _ in range(4))
        self.up, self.down = nn.Dense(width, 4 * width), nn.Dense(4 * width, width)
        self.act = nn.GELU(approximate=False)

    def construct(self, x):
        b, n, w = x.shape
        h = self.ln1(x)
        q, k, v = (f(h).reshape(b, n, self.heads, -1).swapaxes(1, 2) for f in (self.q, self.k, self.v))
        a = ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(2, 3)) / (w // self.heads) ** 0.5, -1), v)
        x = x + self.o(a.swapaxes(1, 2).reshape(b, n, w))
        return x + self.down(self.act(self.up(self.ln2(x))))


class Transformer(nn.Cell):
    def __init__(self, words=1000, width=256):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.layers = nn.CellList([Layer(width, 8) for _ in range(6)])
        self.ln, self.head = nn.LayerNorm((width,), epsilon=1e-5), nn.Dense(width, words)

    def construct(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln(x))


name, steps = sys.argv[1], int(sys.argv[2])
ms.set_seed(0)
rng = np.random.RandomState(0)
if name == "resnet":
    model, x = ResNet(), ms.Tensor(rng.randn(16, 3, 32, 32).astype(np.float32))
    y = ms.Tensor(rng.randint(0, 10, 16).astype(np.int32))
else:
    model, x = Transformer(), ms.Tensor(rng.randint(0, 1000, (8, 64)).astype(np.int32))
    y = ms.Tensor(rng.randint(0, 1000, 8 * 64).astype(np.int32))
model.set_train()
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.01, momentum=0.9)


def forward(x, y):
    out = model(x)
    return ops.cross_entropy(out.reshape(-1, out.shape[-1]), y)


gradients = ms.value_and_grad(forward, None, optimizer.parameters)
for _ in range(steps):
    start = time.process_time()
    loss, grads = gradients(x, y)
    optimizer(grads)
    float(loss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("step", time.process_time() - start, peak, flush=True)
