import mindspore as ms
import numpy as np
from mindspore import mint, nn
from mindspore.experimental import optim


class GatedUnit(nn.Cell):
    def __init__(self, dim, hidden):
        super().__init__()
        self.norm = mint.nn.GroupNorm(4, dim)
        self.value = mint.nn.Linear(dim, hidden)
        self.gate = mint.nn.Linear(dim, hidden)
        self.out = mint.nn.Linear(hidden, dim, bias=False)
        self.act = mint.nn.SiLU()

    def construct(self, x):
        y = self.norm(x)
        return x + self.out(self.act(self.gate(y)) * self.value(y))


class Scorer(nn.Cell):
    def __init__(self, features=14, dim=24, depth=2):
        super().__init__()
        self.inp = mint.nn.Linear(features, dim)
        self.units = nn.CellList([GatedUnit(dim, 32) for _ in range(depth)])
        self.score = mint.nn.Linear(2 * dim, 1)

    def construct(self, x):
        x = mint.tanh(self.inp(x))
        for unit in self.units:
            x = unit(x)
        pooled = mint.cat([x, mint.softmax(x, dim=-1)], dim=1)
        return mint.squeeze(self.score(pooled), 1)


ms.set_seed(31)
model = Scorer()
optimizer = optim.AdamW(model.trainable_params(), lr=2e-3, weight_decay=0.05)
scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
criterion = mint.nn.BCEWithLogitsLoss()
grad_fn = ms.value_and_grad(lambda x, y: criterion(model(x), y), None, optimizer.parameters)
rng = np.random.default_rng(31)
inputs = rng.standard_normal((48, 14)).astype(np.float32)
targets = (inputs.sum(1) > 0).astype(np.float32)
model.set_train()
for step in range(4):
    x = ms.Tensor(inputs[step * 12 : step * 12 + 12])
    y = ms.Tensor(targets[step * 12 : step * 12 + 12])
    loss, grads = grad_fn(x, y)
    optimizer(grads)
    scheduler.step()
