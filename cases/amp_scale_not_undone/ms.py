"""Bands of a spectrum to one of five minerals, trained with a loss scale."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops


class Spectra(nn.Cell):
    def __init__(self, bands=40, classes=5):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 8, 5, pad_mode="pad", padding=2, has_bias=True)
        self.bn1 = nn.BatchNorm1d(8)
        self.conv2 = nn.Conv1d(8, 12, 3, stride=2, pad_mode="pad", padding=1, has_bias=True)
        self.fc = nn.Dense(12 * (bands // 2), classes)

    def construct(self, x):
        x = ops.relu(self.bn1(self.conv1(x)))
        x = ops.relu(self.conv2(x))
        return self.fc(x.flatten(start_dim=1))


def main():
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(50)
    rng = np.random.default_rng(50)
    spectra = rng.standard_normal((48, 1, 40)).astype(np.float32)
    minerals = rng.integers(0, 5, 48).astype(np.int32)
    loader = ds.NumpySlicesDataset((spectra, minerals), ["x", "y"], shuffle=False).batch(12)
    model = Spectra()
    optimizer = nn.Momentum(model.trainable_params(), learning_rate=0.01, momentum=0.9)
    network = nn.WithLossCell(model, nn.CrossEntropyLoss())
    train = nn.TrainOneStepCell(network, optimizer, sens=1024.0)
    train.set_train()
    for epoch in range(2):
        for x, y in loader.create_tuple_iterator():
            train(x, y)


if __name__ == "__main__":
    main()
