"""LeNet-5, MindSpore version: GeneratorDataset -> batch -> TrainOneStepCell(WithLossCell)."""
import argparse

import numpy as np
import mindspore as ms
import mindspore.dataset as ds
from mindspore import nn

SEGMENTS = {
    0: "1110111", 1: "0010010", 2: "1011101", 3: "1011011", 4: "0111010",
    5: "1101011", 6: "1101111", 7: "1010010", 8: "1111111", 9: "1111011",
}


def render(digit, rng):
    img = np.zeros((28, 28), dtype=np.float32)
    dy, dx = rng.randint(-3, 4, size=2)
    w = rng.randint(2, 4)
    y0, y1, y2, x0, x1 = 5 + dy, 13 + dy, 21 + dy, 9 + dx, 18 + dx
    boxes = [(y0, y0 + w, x0, x1 + w), (y0, y1 + w, x0, x0 + w), (y0, y1 + w, x1, x1 + w),
             (y1, y1 + w, x0, x1 + w), (y1, y2 + w, x0, x0 + w), (y1, y2 + w, x1, x1 + w),
             (y2, y2 + w, x0, x1 + w)]
    for on, (a, b, c, d) in zip(SEGMENTS[digit], boxes):
        if on == "1":
            img[a:b, c:d] = 1.0
    img += rng.normal(0.0, 0.15, size=img.shape)
    return np.clip(img, 0.0, 1.0).astype(np.float32)


class DigitSource:
    """random-access source for GeneratorDataset"""

    def __init__(self, n, seed=1998):
        rng = np.random.RandomState(seed)
        self.labels = rng.randint(0, 10, size=n)
        self.images = np.stack([render(int(d), rng) for d in self.labels])
        self.images = (self.images - 0.1307) / 0.3081

    def __getitem__(self, i):
        return self.images[i][None].astype(np.float32), np.int32(self.labels[i])

    def __len__(self):
        return len(self.labels)


def create_dataset(n, batch_size):
    dataset = ds.GeneratorDataset(DigitSource(n), column_names=["image", "label"], shuffle=True)
    return dataset.batch(batch_size, drop_remainder=True)


class LeNet5(nn.Cell):
    def __init__(self, num_class=10, num_channel=1):
        super().__init__()
        self.conv1 = nn.Conv2d(num_channel, 6, 5, pad_mode="same", has_bias=True)
        self.conv2 = nn.Conv2d(6, 16, 5, pad_mode="valid", has_bias=True)
        self.relu = nn.ReLU()
        self.max_pool2d = nn.MaxPool2d(kernel_size=2, stride=2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Dense(16 * 5 * 5, 120)
        self.fc2 = nn.Dense(120, 84)
        self.fc3 = nn.Dense(84, num_class)

    def construct(self, x):
        x = self.max_pool2d(self.relu(self.conv1(x)))
        x = self.max_pool2d(self.relu(self.conv2(x)))
        x = self.flatten(x)
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc2(x))
        return self.fc3(x)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--epoch_size", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.9)
    args = parser.parse_args()

    ms.set_seed(1)
    train_set = create_dataset(100, args.batch_size)
    network = LeNet5()
    net_opt = nn.SGD(network.trainable_params(), learning_rate=args.lr, momentum=args.momentum)
    net_loss = nn.CrossEntropyLoss()
    train_net = nn.TrainOneStepCell(nn.WithLossCell(network, net_loss), net_opt)
    train_net.set_train()

    for epoch in range(args.epoch_size):
        for step, (image, label) in enumerate(train_set.create_tuple_iterator()):
            loss = train_net(image, label)
            print("epoch: %d step: %d, loss is %.5f" % (epoch, step, float(loss)))
