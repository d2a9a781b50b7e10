"""Bottlenecks with inverted residuals, in the manner of MobileNetV2."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn
from mindspore.train import Model


def conv_bn(cin, cout, kernel, stride=1, groups=1):
    return nn.SequentialCell(
        nn.Conv2d(cin, cout, kernel, stride, pad_mode="pad", padding=kernel // 2, group=groups),
        nn.BatchNorm2d(cout, momentum=0.1),
        nn.ReLU6(),
    )


class Inverted(nn.Cell):
    def __init__(self, cin, cout, stride, expand=2):
        super().__init__()
        hidden = cin * expand
        self.same = stride == 1 and cin == cout
        self.expand = conv_bn(cin, hidden, 1)
        self.depth = conv_bn(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, cout, 1)
        self.norm = nn.BatchNorm2d(cout)

    def construct(self, x):
        y = self.norm(self.project(self.depth(self.expand(x))))
        return x + y if self.same else y


class Net(nn.Cell):
    def __init__(self, classes=6):
        super().__init__()
        self.stem = conv_bn(3, 6, 3, 2)
        self.blocks = nn.SequentialCell(Inverted(6, 6, 1), Inverted(6, 10, 2))
        self.head = nn.Dense(10, classes)

    def construct(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


if __name__ == "__main__":
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    ms.set_seed(23)
    rng = np.random.default_rng(23)
    images = rng.random((32, 3, 16, 16), dtype=np.float32)
    labels = rng.integers(0, 6, 32).astype(np.int32)
    net = Net()
    optimizer = nn.Momentum(net.trainable_params(), learning_rate=0.05, momentum=0.9)
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    data = ds.NumpySlicesDataset((images, labels), ["image", "label"], shuffle=False).batch(8)
    Model(net, loss, optimizer).train(1, data, dataset_sink_mode=False)
