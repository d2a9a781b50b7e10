import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal
from mindspore.experimental import optim


class Attention(nn.Cell):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Dense(dim, 3 * dim)
        self.proj = nn.Dense(dim, dim)
        self.drop = nn.Dropout(p=0.1)

    def construct(self, x):
        b, t, d = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        att = self.drop(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) / math.sqrt(d // self.heads), axis=-1))
        return self.proj(ops.matmul(att, v).swapaxes(1, 2).reshape(b, t, d))


class Block(nn.Cell):
    def __init__(self, dim, heads):
        super().__init__()
        self.ln1 = nn.LayerNorm((dim,), epsilon=1e-5)
        self.attn = Attention(dim, heads)
        self.ln2 = nn.LayerNorm((dim,), epsilon=1e-5)
        self.mlp = nn.SequentialCell(
            nn.Dense(dim, 2 * dim), nn.GELU(approximate=False), nn.Dense(2 * dim, dim), nn.Dropout(p=0.1)
        )

    def construct(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Model(nn.Cell):
    def __init__(self, vocab=40, dim=16, depth=2, use_recompute=True):
        super().__init__()
        self.tok = nn.Embedding(vocab, dim, embedding_table=Normal(1.0))
        self.blocks = nn.CellList([Block(dim, 2) for _ in range(depth)])
        self.norm = nn.LayerNorm((dim,), epsilon=1e-5)
        self.head = nn.Dense(dim, vocab, has_bias=False)
        if use_recompute:
            for block in self.blocks:
                block.recompute()

    def construct(self, ids):
        x = self.tok(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


ms.set_seed(2)
model = Model()
model.set_train(True)
optimizer = optim.AdamW(model.trainable_params(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)


def forward_fn(inputs, targets):
    logits = model(inputs)
    return ops.cross_entropy(logits.reshape(-1, 40), targets.reshape(-1))


grad_fn = ms.value_and_grad(forward_fn, None, optimizer.parameters)
rs = np.random.RandomState(2)
for step in range(3):
    tokens = ms.Tensor(rs.randint(0, 40, (4, 9)), ms.int32)
    loss, grads = grad_fn(tokens[:, :-1], tokens[:, 1:])
    grads = ops.clip_by_global_norm(grads, 1.0)
    optimizer(grads)
    print(f"step {step} loss {float(loss):.4f}")
