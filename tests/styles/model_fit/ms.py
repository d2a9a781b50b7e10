import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore.dataset import GeneratorDataset
from mindspore.train import LossMonitor, Model


class Digits:
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.x = rng.random((n, 1, 12, 12), dtype=np.float32)
        self.y = rng.integers(0, 3, n).astype(np.int32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def main():
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(11)
    net = nn.SequentialCell(
        nn.Conv2d(1, 6, 3, pad_mode="pad", padding=1, has_bias=True),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Dense(216, 3),
    )
    train = GeneratorDataset(Digits(24, 0), ["image", "label"], shuffle=False).batch(8)
    test = GeneratorDataset(Digits(8, 1), ["image", "label"], shuffle=False).batch(8)
    model = Model(net, nn.CrossEntropyLoss(), nn.Adam(net.trainable_params(), 1e-3), metrics={"accuracy"})
    print("before", model.eval(test, dataset_sink_mode=False))
    model.fit(2, train, test, callbacks=[LossMonitor(1)], dataset_sink_mode=True)


if __name__ == "__main__":
    main()
