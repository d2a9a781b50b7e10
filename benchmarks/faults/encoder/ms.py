"""A post-norm transformer encoder that classifies token sequences, ported to MindSpore."""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal

VOCAB, LENGTH, DIM, HEADS, LAYERS, CLASSES = 60, 12, 32, 4, 2, 4


class MultiHead(nn.Cell):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.q_proj = nn.Dense(dim, dim)
        self.k_proj = nn.Dense(dim, dim)
        self.v_proj = nn.Dense(dim, dim)
        self.o_proj = nn.Dense(dim, dim)
        self.drop = nn.Dropout(p=dropout)

    def to_heads(self, x):
        b, n, _ = x.shape
        return x.reshape(b, n, self.heads, self.head_dim).transpose(0, 2, 1, 3)

    def construct(self, x, mask):
        q = self.to_heads(self.q_proj(x))
        k = self.to_heads(self.k_proj(x))
        v = self.to_heads(self.v_proj(x))
        scores = ops.matmul(q, k.transpose(0, 1, 3, 2)) / math.sqrt(self.head_dim)
        scores = ops.masked_fill(scores, mask[:, None, None, :] == 0, -1e9)
        weights = ops.softmax(scores, axis=-1)
        context = ops.matmul(self.drop(weights), v)
        b, h, n, d = context.shape
        context = context.transpose(0, 2, 1, 3).reshape(b, n, h * d)
        return self.o_proj(context)


class Block(nn.Cell):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.attn = MultiHead(dim, heads, dropout)
        self.ln_attn = nn.LayerNorm((dim,), epsilon=1e-6)
        self.mlp_in = nn.Dense(dim, 4 * dim)
        self.act = nn.GELU(approximate=False)
        self.mlp_out = nn.Dense(4 * dim, dim)
        self.ln_mlp = nn.LayerNorm((dim,), epsilon=1e-6)
        self.drop = nn.Dropout(p=dropout)

    def construct(self, x, mask):
        attended = self.drop(self.attn(x, mask))
        x = self.ln_attn(x + attended)
        hidden = self.act(self.mlp_in(x))
        hidden = self.drop(self.mlp_out(hidden))
        return self.ln_mlp(x + hidden)


class Classifier(nn.Cell):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.word = nn.Embedding(VOCAB, DIM, embedding_table=Normal(1.0))
        self.place = nn.Embedding(LENGTH, DIM, embedding_table=Normal(1.0))
        self.ln_in = nn.LayerNorm((DIM,), epsilon=1e-6)
        self.blocks = nn.CellList([Block(DIM, HEADS, dropout) for _ in range(LAYERS)])
        self.pool_proj = nn.Dense(DIM, DIM)
        self.out = nn.Dense(DIM, CLASSES)

    def construct(self, ids, mask):
        position = ops.arange(0, ids.shape[1])
        x = self.word(ids) + self.place(position)[None]
        x = self.ln_in(x)
        for block in self.blocks:
            x = block(x, mask)
        weights = mask[:, :, None]
        pooled = (x * weights).sum(1) / weights.sum(1)
        pooled = ops.tanh(self.pool_proj(pooled))
        return self.out(pooled)


def make_batches(steps=4, size=6):
    rng = np.random.RandomState(7)
    for _ in range(steps):
        ids = rng.randint(1, VOCAB, (size, LENGTH))
        lengths = rng.randint(4, LENGTH + 1, size)
        mask = (np.arange(LENGTH)[None] < lengths[:, None]).astype(np.float32)
        labels = rng.randint(0, CLASSES, size)
        yield ids * mask.astype(np.int64), mask, labels


def train():
    ms.set_seed(3)
    model = Classifier()
    optimizer = nn.SGD(model.trainable_params(), learning_rate=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def forward(ids, mask, labels):
        return criterion(model(ids, mask), labels)

    grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
    model.set_train()
    for step, (ids, mask, labels) in enumerate(make_batches()):
        loss, grads = grad_fn(Tensor(ids, ms.int32), Tensor(mask), Tensor(labels, ms.int32))
        grads = ops.clip_by_global_norm(grads, 0.5)
        optimizer(grads)
        print(f"{step} loss={float(loss):.7f}")


if __name__ == "__main__":
    train()
