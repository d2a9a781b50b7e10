import mindspore as ms
import numpy as np
from mindspore import nn, ops


class StraightThrough(nn.Cell):
    """Rounds; the gradient passes where the input is within the range."""

    def construct(self, x):
        return ops.round(x * 4) / 4

    def bprop(self, x, out, dout):
        return (dout * (ops.abs(x) <= 1).astype(dout.dtype),)


class Quantised(nn.Cell):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Dense(10, 18)
        self.quantise = StraightThrough()
        self.fc2 = nn.Dense(18, 5)

    def construct(self, x):
        return self.fc2(self.quantise(ops.tanh(self.fc1(x)) * 1.2))


ms.set_seed(19)
net = Quantised()
opt = nn.SGD(net.trainable_params(), learning_rate=0.1, momentum=0.9)
grad_fn = ms.value_and_grad(lambda x, y: ops.cross_entropy(net(x), y), None, opt.parameters)
rng = np.random.RandomState(19)
for _ in range(3):
    x, y = ms.Tensor(rng.randn(9, 10).astype("f")), ms.Tensor(rng.randint(0, 5, 9), ms.int32)
    loss, grads = grad_fn(x, y)
    opt(grads)
