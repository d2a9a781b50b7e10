import argparse

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.experimental import optim


class Net(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.inp = nn.Dense(5, width)
        self.shared = nn.Dense(width, width)
        self.act = nn.SiLU()
        self.scale = Parameter(Tensor(np.full(width, 0.5, np.float32)), name="scale")
        self.offset = Tensor(np.linspace(-1, 1, width).astype(np.float32))
        self.out = nn.Dense(width, 2, has_bias=False)

    def features(self, x):
        x = self.act(self.inp(x))
        for _ in range(3):
            x = x + self.scale * self.act(self.shared.construct(x))
        return x + self.offset

    def construct(self, x):
        return self.out(self.features(x))


def main(args):
    ms.set_seed(0)
    net = Net(args.width)
    opt = optim.RMSprop(net.trainable_params(), lr=args.lr)
    loss_fn = nn.HuberLoss()
    grad_fn = ms.value_and_grad(lambda x, y: loss_fn(net(x), y), None, net.trainable_params())
    rs = np.random.RandomState(0)
    xs, ys = rs.randn(4, 6, 5).astype("f"), rs.randn(4, 6, 2).astype("f")
    for x, y in zip(xs, ys):
        loss, grads = grad_fn(Tensor(x), Tensor(y))
        opt(grads)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.05)
    main(parser.parse_args())
