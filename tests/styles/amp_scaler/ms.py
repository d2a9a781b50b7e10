import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.amp import DynamicLossScaler, all_finite, auto_mixed_precision

ms.set_seed(0)
net = nn.SequentialCell(nn.Dense(16, 32), nn.ReLU(), nn.Dense(32, 4))
net = auto_mixed_precision(net, "O2")
opt = nn.SGD(net.trainable_params(), learning_rate=0.05)
scaler = DynamicLossScaler(scale_value=1024.0, scale_factor=2, scale_window=1000)
ce = nn.CrossEntropyLoss()


def forward(x, y):
    loss = ce(net(x), y)
    return scaler.scale(loss), loss


grad_fn = ms.value_and_grad(forward, None, opt.parameters, has_aux=True)
rs = np.random.RandomState(0)
x = ms.Tensor(rs.randn(24, 16).astype("f"))
y = ms.Tensor(rs.randint(0, 4, 24), ms.int32)
for i in range(3):
    (_, loss), grads = grad_fn(x[i * 8 : i * 8 + 8], y[i * 8 : i * 8 + 8])
    grads = scaler.unscale(grads)
    finite = all_finite(grads)
    if finite:
        grads = ops.clip_by_global_norm(grads, 1.0)
        opt(grads)
    scaler.adjust(finite)
