"""BYOL on small random images: an online network predicts what a slowly moving copy of it sees."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Encoder(nn.Cell):
    def __init__(self, dim=16):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, pad_mode="pad", padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, pad_mode="pad", padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.projector = nn.SequentialCell(nn.Dense(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dense(32, dim))

    def construct(self, x):
        x = ops.relu(self.bn1(self.conv1(x)))
        x = ops.relu(self.bn2(self.conv2(x)))
        return self.projector(x.mean((2, 3)))


class BYOL(nn.Cell):
    def __init__(self, momentum=0.9, dim=16):
        super().__init__()
        self.online_encoder = Encoder(dim)
        self.predictor = nn.SequentialCell(nn.Dense(dim, 32), nn.ReLU(), nn.Dense(32, dim))
        self.target_encoder = Encoder(dim)
        self.momentum = momentum
        for online, target in zip(self.online_encoder.get_parameters(), self.target_encoder.get_parameters()):
            target.set_data(online)
            target.requires_grad = False

    def update_target(self):
        for online, target in zip(self.online_encoder.trainable_params(), self.target_params):
            ops.assign(target, self.momentum * target + (1 - self.momentum) * online)

    @property
    def target_params(self):
        return [p for p in self.target_encoder.get_parameters() if "moving" not in p.name]

    def construct(self, x1, x2):
        p1 = self.predictor(self.online_encoder(x1))
        p2 = self.predictor(self.online_encoder(x2))
        z1 = ops.stop_gradient(self.target_encoder(x1))
        z2 = ops.stop_gradient(self.target_encoder(x2))
        return regression(p1, z2) + regression(p2, z1)


def normalize(x):
    return x / ops.maximum(ops.sqrt((x * x).sum(axis=1, keepdims=True)), Tensor(1e-12, ms.float32))


def regression(p, z):
    return (2 - 2 * (normalize(p) * normalize(z)).sum(axis=1)).mean()


ms.set_seed(0)
rng = np.random.RandomState(0)
model = BYOL()
optimizer = nn.Momentum(model.trainable_params(), learning_rate=0.1, momentum=0.9)
grad_fn = ms.value_and_grad(model, None, optimizer.parameters)
model.set_train()
for step in range(6):
    view1 = Tensor(rng.rand(8, 3, 16, 16).astype(np.float32))
    view2 = Tensor(rng.rand(8, 3, 16, 16).astype(np.float32))
    loss, grads = grad_fn(view1, view2)
    optimizer(grads)
    model.update_target()
    print(step, loss)
