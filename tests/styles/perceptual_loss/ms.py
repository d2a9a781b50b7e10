"""A generator with a perceptual loss: features of a frozen, never trained network."""
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.experimental import optim


class Features(nn.Cell):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, pad_mode="pad", padding=1, has_bias=True)
        self.c2 = nn.Conv2d(8, 8, 3, pad_mode="pad", padding=1, has_bias=True)
        self.pool = nn.AvgPool2d(2, 2)

    def construct(self, x):
        a = ops.relu(self.c1(x))
        b = ops.relu(self.c2(self.pool(a)))
        return a, b


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, pad_mode="pad", padding=1, has_bias=True)
        self.b = nn.Conv2d(12, 3, 3, pad_mode="pad", padding=1, has_bias=True)

    def construct(self, x):
        return x + self.b(ops.leaky_relu(self.a(x), 0.1))


class Loss(nn.Cell):
    def __init__(self, features):
        super().__init__()
        self.features = features

    def construct(self, out, y):
        loss = ops.l1_loss(out, y)
        mine, real = self.features(out), self.features(y)
        for m, r in zip(mine, real):
            loss = loss + 0.1 * ops.mse_loss(m, ops.stop_gradient(r))
        return loss


ms.set_seed(1)
features = Features()
for p in features.get_parameters():
    p.requires_grad = False
net = Net()
loss_fn = Loss(features)
optimizer = optim.Adam(net.trainable_params(), lr=1e-3, eps=1e-6)


def forward(x, y):
    return loss_fn(net(x), y)


grad_fn = ms.value_and_grad(forward, None, net.trainable_params())
rng = np.random.RandomState(0)
for _ in range(4):
    x = Tensor(rng.rand(4, 3, 8, 8).astype(np.float32))
    y = Tensor(rng.rand(4, 3, 8, 8).astype(np.float32))
    loss, grads = grad_fn(x, y)
    optimizer(grads)
