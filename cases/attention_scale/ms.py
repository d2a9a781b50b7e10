"""Set regression on noisy rings: self-attention over the points, then attention pooling (MindSpore)."""
import numpy as np
import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
from mindspore import Parameter, Tensor
from mindspore.common.initializer import Normal, initializer


class SelfAttention(nn.Cell):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Dense(dim, 3 * dim, has_bias=False)
        self.out = nn.Dense(dim, dim)

    def construct(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) * self.scale, axis=-1)
        return self.out(ops.matmul(attn, v).swapaxes(1, 2).reshape(B, N, C))


class AttentionPool(nn.Cell):
    def __init__(self, dim, heads, seeds):
        super().__init__()
        self.dim = dim
        self.heads = heads
        self.head_dim = dim // heads
        self.seeds = Parameter(initializer(Normal(1.0), (seeds, dim)), name="seeds")
        self.kv = nn.Dense(dim, 2 * dim, has_bias=False)
        self.out = nn.Dense(dim, dim)

    def construct(self, x):
        B, N, C = x.shape
        q = self.seeds.view(-1, self.heads, self.head_dim).swapaxes(0, 1)
        kv = self.kv(x).view(B, N, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        k, v = kv[0], kv[1]
        score = ops.matmul(q, k.swapaxes(-2, -1)) / self.dim ** 0.5
        pooled = ops.matmul(ops.softmax(score, -1), v)
        return self.out(pooled.swapaxes(1, 2).reshape(B, -1, C))


class RingNet(nn.Cell):
    def __init__(self, dim=32, heads=4, seeds=2):
        super().__init__()
        self.embed = nn.SequentialCell(nn.Dense(2, dim), nn.ReLU(), nn.Dense(dim, dim))
        self.norm = nn.LayerNorm((dim,), epsilon=1e-5)
        self.attn = SelfAttention(dim, heads)
        self.norm_out = nn.LayerNorm((dim,), epsilon=1e-5)
        self.pool = AttentionPool(dim, heads, seeds)
        self.head = nn.Dense(seeds * dim, 2)

    def construct(self, pts):
        x = self.embed(pts)
        x = x + self.attn(self.norm(x))
        x = self.pool(self.norm_out(x))
        return self.head(x.reshape(x.shape[0], -1))


def rings(n, points=24, seed=8):
    rng = np.random.default_rng(seed)
    r = rng.uniform(0.5, 2.0, (n, 1))
    w = rng.uniform(0.02, 0.3, (n, 1))
    phi = rng.uniform(0, 2 * np.pi, (n, points))
    rad = r + w * rng.standard_normal((n, points))
    pts = np.stack([rad * np.cos(phi), rad * np.sin(phi)], -1).astype(np.float32)
    return pts, np.concatenate([r, w], 1).astype(np.float32)


if __name__ == "__main__":
    ms.set_seed(64)
    N, BS = 80, 16
    pts, target = rings(N)
    model = RingNet()
    opt = nn.SGD(model.trainable_params(), learning_rate=0.01, momentum=0.9, nesterov=True)
    train_one = nn.TrainOneStepCell(nn.WithLossCell(model, nn.MSELoss()), opt)
    train_one.set_train()
    for i in range(0, N, BS):
        loss = train_one(Tensor(pts[i:i + BS]), Tensor(target[i:i + BS]))
        print(i // BS, loss)
