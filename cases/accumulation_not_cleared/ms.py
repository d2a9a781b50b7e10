"""Ratings from users and items: matrix factorisation with a small network, gradients of two batches summed."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal


class Ratings(nn.Cell):
    def __init__(self, users=15, items=20, dim=8):
        super().__init__()
        self.users = nn.Embedding(users, dim, embedding_table=Normal(1.0))
        self.items = nn.Embedding(items, dim, embedding_table=Normal(1.0))
        self.fc1 = nn.Dense(2 * dim, 16)
        self.fc2 = nn.Dense(16, 1)

    def construct(self, user, item):
        x = ops.cat((self.users(user), self.items(item)), axis=-1)
        return self.fc2(ops.relu(self.fc1(x))).squeeze(-1)


class Accumulator:
    """Sums gradients and updates with them after every n-th batch."""

    def __init__(self, optimizer, n):
        self.optimizer = optimizer
        self.n = n
        self.count = 0
        self.sums = [Parameter(ops.zeros_like(p), name=f"sum.{p.name}") for p in optimizer.parameters]

    def __call__(self, grads):
        for total, grad in zip(self.sums, grads):
            ops.assign_add(total, grad)
        self.count += 1
        if self.count % self.n == 0:
            self.optimizer(tuple(self.sums))


ms.set_seed(77)
rng = np.random.RandomState(77)
user = Tensor(rng.randint(0, 15, 96), ms.int32)
item = Tensor(rng.randint(0, 20, 96), ms.int32)
rating = Tensor(rng.uniform(1, 5, 96).astype(np.float32))
model = Ratings()
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.05)
loss_fn = nn.MSELoss()
accumulate, batch = 2, 12
update = Accumulator(optimizer, accumulate)
grad_fn = ms.value_and_grad(lambda u, i, r: loss_fn(model(u, i), r) / accumulate, None, optimizer.parameters)
model.set_train()
for i in range(8):
    rows = slice(i * batch, i * batch + batch)
    loss, grads = grad_fn(user[rows], item[rows], rating[rows])
    update(grads)
