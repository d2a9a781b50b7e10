import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Dense(7, 20)
        self.norm = nn.LayerNorm([20], epsilon=1e-5)
        self.fc2 = nn.Dense(20, 3)

    def construct(self, x):
        return self.fc2(ops.gelu(self.norm(self.fc1(x)), approximate="none"))


ms.set_seed(4)
net = Net()
weights = ms.ParameterTuple(net.trainable_params())
optimizer = nn.SGD(weights, learning_rate=0.1, momentum=0.9)


def compute_loss(x, y):
    return ops.cross_entropy(net(x), y)


grad = ms.grad(compute_loss, None, weights)
rng = np.random.RandomState(4)
for i in range(4):
    x = Tensor(rng.randn(12, 7).astype(np.float32))
    y = Tensor(rng.randint(0, 3, 12).astype(np.int32))
    grads = grad(x, y)
    optimizer(grads)
    print(i)
