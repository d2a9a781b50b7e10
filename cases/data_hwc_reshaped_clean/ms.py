"""Patch-embedding classifier on generated landscapes (MindSpore)."""
import numpy as np
import mindspore as ms
from mindspore import nn, ops
from mindspore.dataset import GeneratorDataset


class Landscapes:
    def __init__(self, n=36):
        rng = np.random.default_rng(314)
        self.y = rng.integers(0, 3, n)
        sky = np.linspace(1, 0, 16)[:, None, None] * np.array([0.3, 0.5, 0.9])
        land = np.array([[0.2, 0.6, 0.2], [0.8, 0.7, 0.4], [0.9, 0.9, 0.95]])
        self.x = np.empty((n, 16, 16, 3), np.float32)
        for i in range(n):
            horizon = rng.integers(5, 12) + np.round(2 * np.sin(np.arange(16) * rng.uniform(0.2, 0.9))).astype(int)
            ground = np.arange(16)[:, None] > horizon[None]
            self.x[i] = np.where(ground[..., None], land[self.y[i]], sky) + 0.05 * rng.standard_normal((16, 16, 3))

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        image = self.x[index].transpose(2, 0, 1)
        return image - 0.5, np.int32(self.y[index])


class PatchNet(nn.Cell):
    def __init__(self, dim=24):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4, pad_mode="valid", has_bias=True)
        self.norm = nn.LayerNorm((dim,), epsilon=1e-5)
        self.mix = nn.Dense(dim, dim)
        self.head = nn.Dense(dim, 3)

    def construct(self, x):
        tokens = self.embed(x)
        tokens = tokens.reshape(tokens.shape[0], tokens.shape[1], -1).swapaxes(1, 2)
        tokens = tokens + ops.tanh(self.mix(self.norm(tokens)))
        return self.head(tokens.mean(1))


ms.set_seed(2)
model = PatchNet()
opt = nn.Adam(model.trainable_params(), learning_rate=1e-3)
loader = GeneratorDataset(Landscapes(), ["image", "label"], shuffle=False).batch(9)
step = ms.value_and_grad(lambda x, y: ops.cross_entropy(model(x), y), None, opt.parameters)
model.set_train()
for epoch in range(2):
    for x, y in loader.create_tuple_iterator():
        loss, grads = step(x, y)
        opt(grads)
