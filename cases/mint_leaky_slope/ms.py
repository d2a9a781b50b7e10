"""Sets of points to a label: a shared network for each point, the mean over points, and a head."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, mint, nn
from mindspore.experimental import optim


class PointNet(nn.Cell):
    def __init__(self, classes=4, width=24):
        super().__init__()
        self.fc1 = mint.nn.Linear(3, width)
        self.fc2 = mint.nn.Linear(width, width)
        self.norm = mint.nn.GroupNorm(3, width)
        self.act = nn.LeakyReLU()
        self.head = mint.nn.Linear(width, classes)

    def construct(self, points):
        x = self.act(self.fc1(points))
        x = mint.mean(self.act(self.fc2(x)), dim=1)
        return self.head(self.act(self.norm(x)))


ms.set_seed(61)
rng = np.random.RandomState(61)
clouds = Tensor(rng.randn(40, 16, 3).astype(np.float32))
kinds = Tensor(rng.randint(0, 2, (40, 4)).astype(np.float32))
model = PointNet()
optimizer = optim.AdamW(model.trainable_params(), lr=1e-3, weight_decay=0.01)
loss_fn = mint.nn.BCEWithLogitsLoss()
grad_fn = ms.value_and_grad(lambda x, y: loss_fn(model(x), y), None, optimizer.parameters)
model.set_train()
for i in range(4):
    loss, grads = grad_fn(clouds[i * 10 : i * 10 + 10], kinds[i * 10 : i * 10 + 10])
    optimizer(grads)
