import mindspore as ms
import numpy as np
from mindspore import nn, ops

ms.set_seed(0)
net = nn.SequentialCell([nn.Dense(6, 12), nn.Sigmoid(), nn.Dense(12, 2)])
opt = nn.Adagrad(net.trainable_params(), accum=0.1, learning_rate=0.05)


class Loss(nn.Cell):
    def __init__(self, backbone):
        super().__init__(auto_prefix=False)
        self.backbone = backbone

    def construct(self, x, t):
        return ((self.backbone(x) - t) ** 2).mean()


loss_net = Loss(net)
grad = ops.GradOperation(get_by_list=True)(loss_net, ms.ParameterTuple(net.trainable_params()))
rs = np.random.RandomState(2)
for _ in range(3):
    x = ms.Tensor(rs.randn(5, 6).astype(np.float32))
    t = ms.Tensor(rs.randn(5, 2).astype(np.float32))
    opt(grad(x, t))
