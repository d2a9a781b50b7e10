"""Leaf-disease classifier, MindSpore version: transforms in the dataset pipeline."""
import numpy as np
import mindspore as ms
import mindspore.dataset as ds
import mindspore.dataset.vision as vision
from mindspore import nn

MEAN = (0.42, 0.51, 0.33)
STD = (0.19, 0.21, 0.17)


def draw_leaves(n, seed=21):
    rng = np.random.RandomState(seed)
    label = rng.randint(0, 4, n)
    yy, xx = np.mgrid[0:24, 0:24] - 12
    image = np.empty((n, 24, 24, 3), np.uint8)
    for i, kind in enumerate(label):
        leaf = (xx / rng.uniform(5, 10)) ** 2 + (yy / rng.uniform(5, 10)) ** 2 < 1
        spots = rng.rand(24, 24) < 0.05 * kind
        base = np.where(leaf[..., None], [60, 150, 50], [150, 140, 110])
        base = np.where((leaf & spots)[..., None], [120, 80, 30], base)
        image[i] = np.clip(base + rng.randint(-15, 16, base.shape), 0, 255)
    return image, label.astype(np.int32)


def create_dataset(n, batch_size):
    dataset = ds.NumpySlicesDataset(draw_leaves(n), ["image", "label"], shuffle=False)
    prepare = [vision.Rescale(1 / 255, 0.0), vision.Normalize(MEAN, STD)]
    to_network = [vision.Normalize(MEAN, STD), vision.HWC2CHW()]
    dataset = dataset.map(prepare, input_columns="image")
    dataset = dataset.map(to_network, input_columns="image")
    return dataset.batch(batch_size)


class LeafNet(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body = nn.SequentialCell(
            nn.Conv2d(3, 8, 3, pad_mode="pad", padding=1, has_bias=True), nn.ReLU(), nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, 3, pad_mode="pad", padding=1, has_bias=True), nn.ReLU(), nn.MaxPool2d(2, 2),
        )
        self.flatten = nn.Flatten()
        self.head = nn.Dense(16 * 6 * 6, 4)

    def construct(self, x):
        return self.head(self.flatten(self.body(x)))


if __name__ == "__main__":
    ms.set_seed(9)
    train_set = create_dataset(48, 12)
    net = LeafNet()
    optimizer = nn.SGD(net.trainable_params(), learning_rate=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    train_step = nn.TrainOneStepCell(nn.WithLossCell(net, criterion), optimizer)
    train_step.set_train()
    for step, (x, y) in enumerate(train_set.create_tuple_iterator()):
        print(step, train_step(x, y))
