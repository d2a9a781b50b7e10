"""
Sentence classifier with a pre-LN Transformer encoder (MindSpore, everything by hand).
"""
import argparse
import math

import numpy as np
import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
from mindspore import Parameter, Tensor
from mindspore.common.initializer import Normal, TruncatedNormal, XavierUniform, initializer


class MultiHeadSelfAttention(nn.Cell):
    """One fused projection for query, key and value."""

    def __init__(self, dim, heads, dropout):
        super().__init__()
        assert dim % heads == 0
        self.heads = heads
        self.head_dim = dim // heads
        self.to_qkv = nn.Dense(dim, dim * 3, weight_init=XavierUniform(), bias_init="zeros")
        self.to_out = nn.Dense(dim, dim, bias_init="zeros")
        self.attn_drop = nn.Dropout(p=dropout)

    def _heads(self, t):
        b, n, _ = t.shape
        return t.reshape(b, n, self.heads, self.head_dim).swapaxes(1, 2)

    def construct(self, x):
        b, n, d = x.shape
        q, k, v = ops.chunk(self.to_qkv(x), 3, axis=-1)
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        score = ops.bmm(q, k.swapaxes(-1, -2)) / math.sqrt(self.head_dim)
        prob = self.attn_drop(ops.softmax(score, axis=-1))
        ctx = ops.bmm(prob, v).swapaxes(1, 2).reshape(b, n, d)
        return self.to_out(ctx)


class FeedForward(nn.Cell):
    def __init__(self, dim, hidden, dropout):
        super().__init__()
        self.net = nn.SequentialCell(
            nn.Dense(dim, hidden),
            nn.GELU(approximate=False),     # torch's "gelu" is the erf form
            nn.Dropout(p=dropout),
            nn.Dense(hidden, dim),
            nn.Dropout(p=dropout),
        )

    def construct(self, x):
        return self.net(x)


class PreNormLayer(nn.Cell):
    def __init__(self, dim, heads, hidden, dropout):
        super().__init__()
        self.norm_attn = nn.LayerNorm((dim,), epsilon=1e-5)
        self.attn = MultiHeadSelfAttention(dim, heads, dropout)
        self.drop = nn.Dropout(p=dropout)
        self.norm_ff = nn.LayerNorm((dim,), epsilon=1e-5)
        self.ff = FeedForward(dim, hidden, dropout)

    def construct(self, x):
        x = x + self.drop(self.attn(self.norm_attn(x)))
        x = x + self.ff(self.norm_ff(x))
        return x


class Encoder(nn.Cell):
    def __init__(self, opt):
        super().__init__()
        self.token = nn.Embedding(opt.vocab, opt.dim, embedding_table=Normal(sigma=1.0))
        self.pos = Parameter(initializer(TruncatedNormal(sigma=0.1, a=-0.2, b=0.2), (1, opt.maxlen, opt.dim)), name="pos")
        self.layers = nn.CellList([PreNormLayer(opt.dim, opt.heads, opt.ff, opt.dropout)
                                   for _ in range(opt.depth)])
        self.final_norm = nn.LayerNorm((opt.dim,), epsilon=1e-5)
        self.cls = nn.Dense(opt.dim, 2)

    def construct(self, ids):
        x = self.token(ids) + self.pos[:, :ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        x = self.final_norm(x)
        return self.cls(x[:, 0])


def sentences(n, length, vocab, seed=0):
    rng = np.random.RandomState(seed)
    ids = rng.randint(0, vocab, size=(n, length))
    y = ((ids >= vocab // 2).sum(1) > length // 2)
    return ids.astype(np.int32), y.astype(np.int32)


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--vocab", type=int, default=80)
    p.add_argument("--dim", type=int, default=40)
    p.add_argument("--heads", type=int, default=5)
    p.add_argument("--ff", type=int, default=96)
    p.add_argument("--depth", type=int, default=2)
    p.add_argument("--maxlen", type=int, default=16)
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--bsz", type=int, default=10)
    p.add_argument("--lr", type=float, default=0.02)
    p.add_argument("--clip", type=float, default=1.0)
    return p.parse_args()


def main():
    opt = parse()
    ms.set_seed(11)
    ids, labels = sentences(5 * opt.bsz, opt.maxlen, opt.vocab)
    model = Encoder(opt)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    sgd = nn.SGD(model.trainable_params(), learning_rate=opt.lr, momentum=0.9)

    def forward(ids, y):
        return criterion(model(ids), y)

    grad_fn = ops.value_and_grad(forward, None, sgd.parameters)
    model.set_train()
    for step in range(len(ids) // opt.bsz):
        rows = slice(step * opt.bsz, (step + 1) * opt.bsz)
        loss, grads = grad_fn(Tensor(ids[rows]), Tensor(labels[rows]))
        grads = ops.clip_by_global_norm(grads, opt.clip)
        sgd(grads)
        print(f"step {step} loss {float(loss):.5f}")


if __name__ == "__main__":
    main()
