import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.experimental import optim


class Block(nn.Cell):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm((dim,), epsilon=1e-5)
        self.ff = nn.Dense(dim, dim)

    def construct(self, x):
        return x + ops.tanh(self.ff(self.norm(x)))


class Net(nn.Cell):
    def __init__(self, dim=16, depth=3):
        super().__init__()
        self.blocks = nn.CellList([Block(dim) for _ in range(depth)])
        for block in self.blocks:
            block.recompute()
        self.out = nn.Dense(dim, 1)

    @ms.jit
    def construct(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(x)


ms.set_seed(0)
ms.set_context(device_target="GPU")
model = Net()
optimizer = optim.RAdam(model.trainable_params(), lr=1e-2)
loss_fn = nn.L1Loss()
step_fn = ms.value_and_grad(lambda x, y: loss_fn(model(x), y), None, model.trainable_params())
rs = np.random.RandomState(0)
for step in range(3):
    x = ms.Tensor(rs.randn(8, 16), ms.float32)
    y = ms.Tensor(rs.randn(8, 1), ms.float32)
    loss, grads = step_fn(x, y)
    optimizer(grads)
