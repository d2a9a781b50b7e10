import mindspore as ms
import numpy as np
from mindspore import nn, ops

ms.set_seed(0)
rng = np.random.default_rng(0)
images = rng.standard_normal((32, 12)).astype(np.float32)
labels = rng.integers(0, 4, 32).astype(np.int32)
net = nn.SequentialCell(nn.Dense(12, 16), nn.Tanh(), nn.Dense(16, 4))
optimizer = nn.SGD(net.trainable_params(), learning_rate=0.1, momentum=0.9)
loss_fn = nn.CrossEntropyLoss()
accumulate = 2


def forward(x, y):
    return loss_fn(net(x), y) / accumulate


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
inner = [ms.Parameter(ops.zeros_like(p), name="acc." + p.name) for p in optimizer.parameters]
net.set_train()
for i in range(8):
    x = ms.Tensor(images[i * 4 : i * 4 + 4])
    y = ms.Tensor(labels[i * 4 : i * 4 + 4])
    loss, grads = grad_fn(x, y)
    for total, grad in zip(inner, grads):
        ops.assign_add(total, grad)
    if (i + 1) % accumulate == 0:
        optimizer(tuple(inner))
        for total in inner:
            ops.assign(total, ops.zeros_like(total))
        print(i, loss.asnumpy())
