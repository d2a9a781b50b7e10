from collections import namedtuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

Posterior = namedtuple("Posterior", ["mean", "log_var", "extra"])


class Encoder(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body = nn.Dense(12, 16)
        self.mean = nn.Dense(16, 3)
        self.log_var = nn.Dense(16, 3)

    def construct(self, x):
        h = ops.relu(self.body.construct(x))
        return Posterior(self.mean.construct(h), self.log_var(h), None)


class Regulariser(nn.Cell):
    """Keeps its loss; returns nothing."""

    def __init__(self):
        super().__init__()
        self.value = None

    def construct(self, posterior):
        mean, log_var, _ = posterior
        self.value = 0.5 * (ops.exp(log_var) + mean**2 - 1 - log_var).sum(1).mean()


class Model(nn.Cell):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.regulariser = Regulariser()
        self.decoder = nn.SequentialCell(nn.Dense(3, 16), nn.ReLU(), nn.Dense(16, 12))

    def construct(self, x, noise):
        posterior = self.encoder(x)
        self.regulariser(posterior)
        z = posterior.mean + ops.exp(0.5 * posterior.log_var) * noise
        return {"x": self.decoder.construct(z), "parts": [z, (posterior, None)]}


ms.set_seed(8)
model = Model()
optimizer = nn.Adam(model.trainable_params(), learning_rate=1e-3, eps=1e-3)


def forward(x, noise):
    out = model.construct(x, noise)
    return ops.mse_loss(out["x"], x) + 0.1 * model.regulariser.value


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
rng = np.random.RandomState(8)
for step in range(3):
    x = ms.Tensor(rng.rand(10, 12).astype(np.float32))
    noise = ms.Tensor(rng.randn(10, 3).astype(np.float32))
    loss, grads = grad_fn(x, noise)
    optimizer(grads)
