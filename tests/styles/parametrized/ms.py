import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
import numpy as np
from mindspore import Parameter, Tensor
from mindspore.common.initializer import HeUniform, Uniform, initializer


class SymmetricDense(nn.Cell):
    def __init__(self, dim):
        super().__init__()
        self.weight = Parameter(initializer(HeUniform(5**0.5), (dim, dim), ms.float32), name="weight")
        self.bias = Parameter(initializer(Uniform(dim**-0.5), (dim,), ms.float32), name="bias")
        self.upper = Tensor(np.triu(np.ones((dim, dim), np.float32)))
        self.strict = Tensor(np.triu(np.ones((dim, dim), np.float32), 1))

    def construct(self, x):
        weight = self.weight * self.upper + (self.weight * self.strict).transpose(1, 0)
        return ops.matmul(x, weight.T) + self.bias


class ScaledConv(nn.Cell):
    def __init__(self, channels, gain):
        super().__init__()
        self.weight = Parameter(initializer(HeUniform(5**0.5), (channels, 1, 3), ms.float32), name="weight")
        self.bias = Parameter(initializer(Uniform(3**-0.5), (channels,), ms.float32), name="bias")
        self.gain = Parameter(Tensor([gain], ms.float32), name="gain")

    def construct(self, x):
        return ops.conv1d(x, self.weight * self.gain, self.bias, pad_mode="pad", padding=1)


class Net(nn.Cell):
    def __init__(self, dim=10):
        super().__init__()
        self.mix = SymmetricDense(dim)
        self.conv = ScaledConv(4, 0.7)
        self.head = nn.Dense(4 * dim, 2)

    def construct(self, x):
        x = ops.tanh(self.mix(x))
        x = ops.silu(self.conv(x.expand_dims(1)))
        return self.head(x.flatten(start_dim=1))


ms.set_seed(21)
net = Net()
opt = nn.SGD(net.trainable_params(), learning_rate=0.05, momentum=0.8, nesterov=True)
loss_fn = nn.MSELoss()
grad_fn = ms.value_and_grad(lambda x, y: loss_fn(net(x), y), None, opt.parameters)
rs = np.random.RandomState(21)
for _ in range(3):
    x = Tensor(rs.randn(6, 10), ms.float32)
    y = Tensor(rs.randn(6, 2), ms.float32)
    loss, grads = grad_fn(x, y)
    opt(grads)
