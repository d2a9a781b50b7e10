"""A residual network with downsampling shortcuts, ported to MindSpore."""

import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
import numpy as np


def conv3x3(in_channels, out_channels, stride=1):
    return nn.Conv2d(in_channels, out_channels, 3, stride, pad_mode="pad", padding=1)


class ResidualBlock(nn.Cell):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv_a = conv3x3(in_channels, out_channels, stride)
        self.norm_a = nn.BatchNorm2d(out_channels)
        self.conv_b = conv3x3(out_channels, out_channels)
        self.norm_b = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.SequentialCell(
                nn.Conv2d(in_channels, out_channels, 1, stride, pad_mode="pad", padding=0),
                nn.BatchNorm2d(out_channels),
            )

    def construct(self, x):
        out = self.relu(self.norm_a(self.conv_a(x)))
        out = self.norm_b(self.conv_b(out))
        skip = x
        if self.shortcut is not None:
            skip = self.shortcut(x)
        out = out + skip
        return self.relu(out)


class ResNet(nn.Cell):
    def __init__(self, num_classes=5):
        super().__init__()
        self.stem = conv3x3(3, 12)
        self.stem_norm = nn.BatchNorm2d(12)
        self.maxpool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        self.stage1 = nn.SequentialCell(ResidualBlock(12, 12), ResidualBlock(12, 12))
        self.stage2 = nn.SequentialCell(ResidualBlock(12, 24, 2), ResidualBlock(24, 24))
        self.stage3 = nn.SequentialCell(ResidualBlock(24, 32, 2))
        self.head = nn.Dense(32, num_classes)

    def construct(self, x):
        x = ops.relu(self.stem_norm(self.stem(x)))
        x = self.maxpool(x)
        x = self.stage1(x)
        x = self.stage2(x)
        x = self.stage3(x)
        x = x.mean((2, 3))
        return self.head(x)


def batches(steps=4, batch_size=8):
    rng = np.random.RandomState(23)
    for _ in range(steps):
        x = rng.randn(batch_size, 3, 24, 24).astype(np.float32)
        y = rng.randint(0, 5, batch_size).astype(np.int32)
        yield x, y


ms.set_seed(1)
model = ResNet()
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
# Without groups MindSpore leaves every gamma and beta out of the weight decay; torch does not.
groups = [{"params": model.trainable_params(), "weight_decay": 1e-4}]
optimizer = nn.SGD(groups, learning_rate=0.02, momentum=0.9)


def forward_fn(data, label):
    logits = model(data)
    loss = criterion(logits, label)
    return loss, logits


grad_fn = ms.value_and_grad(forward_fn, None, optimizer.parameters, has_aux=True)

model.set_train()
for step, (x, y) in enumerate(batches()):
    (loss, logits), grads = grad_fn(ms.Tensor(x), ms.Tensor(y))
    optimizer(grads)
    accuracy = (logits.asnumpy().argmax(1) == y).mean()
    print(f"step {step}: loss {loss.asnumpy():.7f} accuracy {accuracy:.3f}")
