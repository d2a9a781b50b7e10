import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeUniform, Uniform, initializer


class WeightNormDense(nn.Cell):
    def __init__(self, n_in, n_out):
        super().__init__()
        v = initializer(HeUniform(5**0.5), (n_out, n_in)).init_data()
        self.v = Parameter(v, name="v")
        self.g = Parameter(ops.norm(v, dim=1, keepdim=True), name="g")
        self.bias = Parameter(initializer(Uniform(n_in**-0.5), (n_out,)), name="bias")

    def construct(self, x):
        w = self.g * self.v / ops.sqrt((self.v * self.v).sum(1, keepdims=True))
        return ops.matmul(x, w.T) + self.bias


ms.set_seed(0)
net = nn.SequentialCell(WeightNormDense(8, 8), nn.ELU(), nn.Dense(8, 1))
opt = nn.SGD(net.trainable_params(), 0.1)
grad_fn = ms.value_and_grad(lambda x: net(x).pow(2).sum(), None, opt.parameters)
rs = np.random.RandomState(0)
for i in range(3):
    loss, grads = grad_fn(ms.Tensor(rs.rand(4, 8).astype("float32")))
    opt(grads)
