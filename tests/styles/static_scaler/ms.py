import mindspore as ms
import numpy as np
from mindspore import amp, jit, nn, ops

ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(17)


class Highway(nn.Cell):
    def __init__(self, dim):
        super().__init__()
        self.transform = nn.Dense(dim, dim)
        self.gate = nn.Dense(dim, dim)

    def construct(self, x):
        t = ops.sigmoid(self.gate(x))
        return t * ops.relu(self.transform(x)) + (1 - t) * x


@ms.jit_class
class Clipper:
    def __init__(self, limit):
        self.limit = limit

    def clip(self, grads):
        return ops.clip_by_global_norm(grads, self.limit)


scale = 512.0
model = nn.SequentialCell(nn.Dense(11, 16), Highway(16), Highway(16), nn.Dense(16, 3))
optimizer = nn.Momentum(model.trainable_params(), 0.05, 0.9)
criterion = nn.CrossEntropyLoss()
scaler = amp.StaticLossScaler(scale_value=scale)
clipper = Clipper(0.3 * scale)


def forward(x, y):
    loss = criterion(model(x), y)
    return scaler.scale(loss), loss


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters, has_aux=True)


@jit
def train_step(x, y):
    (_, loss), grads = grad_fn(x, y)
    grads = clipper.clip(grads)
    grads = scaler.unscale(grads)
    if amp.all_finite(grads):
        optimizer(grads)
    return loss


rng = np.random.RandomState(17)
x = ms.Tensor(rng.randn(60, 11).astype(np.float32))
y = ms.Tensor(rng.randint(0, 3, 60).astype(np.int32))
model.set_train()
for i in range(4):
    loss = train_step(x[i * 15 : i * 15 + 15], y[i * 15 : i * 15 + 15])
    print(f"{i}: {float(loss):.5f}")
