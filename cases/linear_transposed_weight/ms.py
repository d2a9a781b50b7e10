"""
Tabular regression with a learned feature rotation (MindSpore port).

Starts from the same numpy weights as the PyTorch script.
"""
import numpy as np
import mindspore as ms
import mindspore.dataset as ds
from mindspore import Parameter, Tensor, nn, ops
from mindspore.experimental import optim

FEATURES, WIDTH = 14, 28


def initial_weights(seed=4):
    rng = np.random.RandomState(seed)

    def dense(out_features, in_features):
        return (rng.randn(out_features, in_features) / np.sqrt(in_features)).astype(np.float32)

    skew = rng.randn(WIDTH, WIDTH) * 0.3
    rotation, _ = np.linalg.qr(np.eye(WIDTH) + skew - skew.T)
    return {
        "expand": dense(WIDTH, FEATURES),
        "rotate": rotation.astype(np.float32),
        "mix": dense(WIDTH, WIDTH),
        "score": dense(1, WIDTH),
    }


class Rotation(nn.Cell):
    """bias-free square projection"""

    def __init__(self, w):
        super().__init__()
        self.w = Parameter(Tensor(w), name="w")

    def construct(self, x):
        return ops.matmul(x, self.w)


class RotationNet(nn.Cell):
    def __init__(self, w):
        super().__init__()
        self.expand = nn.Dense(FEATURES, WIDTH, weight_init=Tensor(w["expand"]), bias_init="zeros")
        self.rotate = Rotation(w["rotate"])
        self.mix = nn.Dense(WIDTH, WIDTH, weight_init=Tensor(w["mix"]), bias_init="zeros")
        self.score = nn.Dense(WIDTH, 1, weight_init=Tensor(w["score"]), bias_init="zeros")
        self.act = nn.SiLU()

    def construct(self, x):
        h = self.act(self.expand(x))
        h = self.act(self.rotate(h))
        h = h + self.act(self.mix(h))
        return self.score(h).squeeze(-1)


def table(n=75, seed=12):
    rng = np.random.RandomState(seed)
    x = rng.randn(n, FEATURES).astype(np.float32)
    y = np.sin(x[:, 0] * x[:, 1]) + 0.5 * x[:, 2:5].sum(1) - np.abs(x[:, 7])
    return x, y.astype(np.float32)


def fit(model, dataset, lr):
    optimizer = optim.SGD(model.trainable_params(), lr=lr, momentum=0.9)
    loss_fn = nn.SmoothL1Loss(beta=1.0, reduction="mean")
    grad_fn = ms.value_and_grad(lambda x, y: loss_fn(model(x), y), None, model.trainable_params())
    model.set_train()
    history = []
    for x, y in dataset.create_tuple_iterator():
        loss, grads = grad_fn(x, y)
        optimizer(grads)
        history.append(float(loss))
    return history


if __name__ == "__main__":
    dataset = ds.NumpySlicesDataset(table(), ["x", "y"], shuffle=False).batch(15)
    history = fit(RotationNet(initial_weights()), dataset, lr=0.03)
    print("losses:", " ".join(f"{v:.5f}" for v in history))
