import mindspore as ms
import numpy as np
from mindspore import nn, ops


class Energy(nn.Cell):
    """A potential whose negative gradient is the force."""

    def __init__(self, width=16):
        super().__init__()
        self.inner = nn.Dense(3, width)
        self.hidden = nn.Dense(width, width)
        self.outer = nn.Dense(width, 1, has_bias=False)

    def construct(self, x):
        h = ops.tanh(self.inner(x))
        h = h + ops.tanh(self.hidden(h))
        return self.outer(h)


ms.set_seed(0)
model = Energy()
weights = model.trainable_params()
optimizer = nn.Adam(weights, learning_rate=5e-3, eps=1e-4)
rng = np.random.RandomState(9)
positions = rng.uniform(-1, 1, (40, 3)).astype(np.float32)
energies = (positions**2).sum(1, keepdims=True).astype(np.float32)
for step in range(4):
    x = ms.Tensor(positions[step * 10 : step * 10 + 10])
    target = ms.Tensor(energies[step * 10 : step * 10 + 10])
    out, vjp_fn = ms.vjp(model, x, weights=ms.ParameterTuple(weights))
    cotangent = 2 * (out - target) / len(x)
    _, grads = vjp_fn(cotangent)
    optimizer(grads)
