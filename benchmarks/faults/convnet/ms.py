"""A small convolutional classifier with BatchNorm and pooling, ported to MindSpore."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops


class ConvNet(nn.Cell):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, pad_mode="pad", padding=1, has_bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps=1e-5, momentum=0.9)
        self.pool1 = nn.MaxPool2d(kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(16, 24, 3, pad_mode="pad", padding=2, dilation=2, has_bias=True)
        self.bn2 = nn.BatchNorm2d(24, eps=1e-5, momentum=0.9)
        self.act2 = nn.LeakyReLU(alpha=0.1)
        self.pool2 = nn.AvgPool2d(kernel_size=3, stride=2, pad_mode="pad", padding=1)
        self.conv3 = nn.Conv2d(24, 32, 3, pad_mode="pad", padding=1, group=4, has_bias=True)
        self.bn3 = nn.BatchNorm2d(32, eps=1e-5, momentum=0.9)
        self.act3 = nn.HSwish()
        self.fc1 = nn.Dense(32 * 4 * 4, 48)
        self.fc2 = nn.Dense(48, num_classes)

    def construct(self, x):
        x = self.pool1(ops.relu(self.bn1(self.conv1(x))))
        x = self.act2(self.bn2(self.conv2(x)))
        x = self.pool2(x)
        x = self.conv3(x)
        x = self.act3(self.bn3(x))
        x = x.reshape(x.shape[0], -1)
        x = self.fc1(x)
        x = ops.relu(x)
        return self.fc2(x)


def make_data(n=32):
    rng = np.random.RandomState(11)
    images = rng.uniform(0.0, 1.0, (n, 3, 16, 16)).astype(np.float32)
    images = (images - 0.5) / 0.25
    labels = rng.randint(0, 10, n).astype(np.int32)
    return images, labels


def main():
    ms.set_seed(0)
    images, labels = make_data()
    dataset = ds.NumpySlicesDataset({"image": images, "label": labels}, shuffle=False).batch(8)
    net = ConvNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = nn.Momentum(net.trainable_params(), learning_rate=0.05, momentum=0.9)
    train_step = nn.TrainOneStepCell(nn.WithLossCell(net, criterion), optimizer)
    train_step.set_train()
    for step, (x, y) in enumerate(dataset.create_tuple_iterator()):
        loss = train_step(x, y)
        print(f"step {step} loss {float(loss.asnumpy()):.7f}")


if __name__ == "__main__":
    main()
