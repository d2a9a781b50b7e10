"""Attention over the steps of a signal; the gradients come from GradOperation, the update from an optimizer."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Pooling(nn.Cell):
    def __init__(self, channels=6, dim=12, classes=3):
        super().__init__()
        self.embed = nn.Dense(channels, dim)
        self.score = nn.Dense(dim, 1)
        self.classify = nn.Dense(dim, classes)

    def construct(self, signal):
        x = ops.silu(self.embed(signal))
        weights = ops.softmax(self.score(x))
        return self.classify((weights * x).sum(axis=1))


class Loss(nn.Cell):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def construct(self, signal, label):
        return ops.nll_loss(ops.log_softmax(self.net(signal), axis=-1), label)


def main():
    ms.set_seed(35)
    rng = np.random.default_rng(35)
    signals = rng.standard_normal((40, 9, 6)).astype(np.float32)
    labels = rng.integers(0, 3, 40).astype(np.int32)
    model = Pooling()
    weights = ms.ParameterTuple(model.trainable_params())
    optimizer = nn.SGD(weights, learning_rate=0.2)
    gradient = ops.GradOperation(get_by_list=True)(Loss(model), weights)
    for i in range(4):
        x, y = Tensor(signals[i * 10 : i * 10 + 10]), Tensor(labels[i * 10 : i * 10 + 10])
        optimizer(gradient(x, y))


main()
