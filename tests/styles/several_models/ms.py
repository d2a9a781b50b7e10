import mindspore
import numpy as np
from mindspore import Tensor, nn
from mindspore.experimental import optim

mindspore.set_seed(0)
encoder = nn.SequentialCell(nn.Dense(8, 16), nn.ReLU())
head_a = nn.Dense(16, 3)
head_b = nn.Dense(16, 1)
params = encoder.trainable_params() + head_a.trainable_params() + head_b.trainable_params()
for number, p in enumerate(params):
    p.name = f"p{number}"
opt = optim.AdamW(params, lr=1e-3, weight_decay=0.01)
ce, mse = nn.CrossEntropyLoss(), nn.MSELoss()


def loss_of(x, y, t):
    h = encoder(x)
    return ce(head_a(h), y) + 0.5 * mse(head_b(h), t)


grad_fn = mindspore.value_and_grad(loss_of, None, params)
rs = np.random.RandomState(0)
X = rs.rand(30, 8).astype(np.float32)
Y = rs.randint(0, 3, 30)
T = rs.rand(30, 1).astype(np.float32)
for step in range(3):
    sl = slice(step * 10, step * 10 + 10)
    loss, grads = grad_fn(Tensor(X[sl]), Tensor(Y[sl], mindspore.int32), Tensor(T[sl]))
    opt(grads)
