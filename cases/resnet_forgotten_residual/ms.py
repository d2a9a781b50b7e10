"""Bottleneck ResNet (MindSpore). Ported from the PyTorch script."""
import numpy as np
import mindspore as ms
import mindspore.dataset as ds
import mindspore.nn as nn
import mindspore.ops as ops
from mindspore.common.initializer import HeNormal

weight_init = HeNormal(mode="fan_out", nonlinearity="relu")


def conv1x1(cin, cout, stride=1):
    return nn.Conv2d(cin, cout, 1, stride, pad_mode="valid", weight_init=weight_init)


def conv3x3(cin, cout, stride=1):
    return nn.Conv2d(cin, cout, 3, stride, pad_mode="pad", padding=1, weight_init=weight_init)


class ResidualBlock(nn.Cell):
    expansion = 2

    def __init__(self, in_channel, channel, stride=1, down_sample=None):
        super().__init__()
        out_channel = channel * self.expansion
        self.conv1 = conv1x1(in_channel, channel)
        self.norm1 = nn.BatchNorm2d(channel)
        self.conv2 = conv3x3(channel, channel, stride)
        self.norm2 = nn.BatchNorm2d(channel)
        self.conv3 = conv1x1(channel, out_channel)
        self.norm3 = nn.BatchNorm2d(out_channel)
        self.relu = nn.ReLU()
        self.down_sample = down_sample

    def construct(self, x):
        out = self.conv1(x)
        out = self.norm1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.norm2(out)
        out = self.relu(out)
        out = self.conv3(out)
        out = self.norm3(out)
        if self.down_sample is not None:
            identity = self.down_sample(x)
            out = out + identity
        out = self.relu(out)
        return out


def make_layer(last_out_channel, channel, block_nums, stride=1):
    down_sample = None
    if stride != 1 or last_out_channel != channel * ResidualBlock.expansion:
        down_sample = nn.SequentialCell([
            conv1x1(last_out_channel, channel * ResidualBlock.expansion, stride),
            nn.BatchNorm2d(channel * ResidualBlock.expansion),
        ])
    layers = [ResidualBlock(last_out_channel, channel, stride=stride, down_sample=down_sample)]
    in_channel = channel * ResidualBlock.expansion
    for _ in range(1, block_nums):
        layers.append(ResidualBlock(in_channel, channel))
    return nn.SequentialCell(layers)


class ResNet(nn.Cell):
    def __init__(self, layer_nums, num_classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, stride=2, pad_mode="pad", padding=2, weight_init=weight_init)
        self.norm = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = make_layer(16, 12, layer_nums[0])
        self.layer2 = make_layer(24, 16, layer_nums[1], stride=2)
        self.fc = nn.Dense(32, num_classes)

    def construct(self, x):
        x = self.relu(self.norm(self.conv1(x)))
        x = self.layer1(x)
        x = self.layer2(x)
        x = ops.mean(x, (2, 3))
        return self.fc(x)


def blobs(n=60, size=32):
    g = np.random.RandomState(99)
    quadrant = g.randint(0, 4, size=n)
    cx = (quadrant % 2) * 16 + g.uniform(4, 12, n)
    cy = (quadrant // 2) * 16 + g.uniform(4, 12, n)
    colour = g.uniform(0.3, 1.0, (n, 3, 1, 1))
    yy, xx = np.mgrid[:size, :size]
    d2 = (xx[None] - cx[:, None, None]) ** 2 + (yy[None] - cy[:, None, None]) ** 2
    blob = np.exp(-d2 / 18.0)[:, None] * colour
    x = (blob + 0.1 * g.standard_normal((n, 3, size, size))).astype("float32")
    return x, quadrant.astype("int32")


if __name__ == "__main__":
    ms.set_seed(5)
    dataset = ds.NumpySlicesDataset(blobs(), column_names=["data", "label"], shuffle=False).batch(12)
    network = ResNet([2, 1])
    step_size = dataset.get_dataset_size()
    lr = [0.02 * 0.9 ** i for i in range(step_size)]
    opt = nn.Momentum(network.trainable_params(), learning_rate=lr, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def forward_fn(inputs, targets):
        logits = network(inputs)
        loss = loss_fn(logits, targets)
        return loss

    grad_fn = ms.value_and_grad(forward_fn, None, opt.parameters)

    def train_step(inputs, targets):
        loss, grads = grad_fn(inputs, targets)
        opt(grads)
        return loss

    network.set_train(True)
    for i, (images, labels) in enumerate(dataset.create_tuple_iterator()):
        loss = train_step(images, labels)
        print("Steps: [%3d/%3d], Train Loss: [%5.3f]" % (i + 1, step_size, loss))
