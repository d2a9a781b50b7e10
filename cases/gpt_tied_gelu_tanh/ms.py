"""
A tiny GPT language model in MindSpore. Input and output embeddings are tied.
"""
import math
from dataclasses import dataclass

import numpy as np
import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal, Normal, XavierNormal
from mindspore.experimental import optim


@dataclass
class Config:
    block_size: int = 16
    vocab_size: int = 50
    n_layer: int = 2
    n_head: int = 3
    n_embd: int = 36
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    max_iters: int = 5
    batch_size: int = 8


class CausalSelfAttention(nn.Cell):
    def __init__(self, config):
        super().__init__()
        self.qkv = nn.Dense(config.n_embd, 3 * config.n_embd, has_bias=False, weight_init=XavierNormal())
        self.proj = nn.Dense(config.n_embd, config.n_embd, has_bias=False, weight_init=XavierNormal())
        self.n_head = config.n_head
        self.mask = Tensor(np.triu(np.ones((config.block_size, config.block_size)), 1), ms.bool_)

    def construct(self, x):
        B, T, C = x.shape
        qkv = self.qkv(x).reshape(B, T, 3, self.n_head, C // self.n_head)
        q, k, v = ops.unbind(qkv.permute(2, 0, 3, 1, 4), dim=0)
        att = ops.matmul(q, k.swapaxes(-2, -1)) / math.sqrt(C // self.n_head)
        att = ops.masked_fill(att, self.mask[:T, :T], float("-inf"))
        att = ops.softmax(att, axis=-1)
        y = ops.matmul(att, v).swapaxes(1, 2).reshape(B, T, C)
        return self.proj(y)


class MLP(nn.Cell):
    def __init__(self, config):
        super().__init__()
        self.fc = nn.Dense(config.n_embd, 4 * config.n_embd, has_bias=False, weight_init=HeNormal())
        self.gelu = nn.GELU()
        self.proj = nn.Dense(4 * config.n_embd, config.n_embd, has_bias=False, weight_init=XavierNormal())

    def construct(self, x):
        return self.proj(self.gelu(self.fc(x)))


class Block(nn.Cell):
    def __init__(self, config):
        super().__init__()
        self.norm1 = nn.LayerNorm((config.n_embd,), epsilon=1e-5)
        self.attn = CausalSelfAttention(config)
        self.norm2 = nn.LayerNorm((config.n_embd,), epsilon=1e-5)
        self.mlp = MLP(config)

    def construct(self, x):
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class GPT(nn.Cell):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd, embedding_table=Normal(0.02))
        self.wpe = nn.Embedding(config.block_size, config.n_embd, embedding_table=Normal(0.02))
        self.blocks = nn.SequentialCell([Block(config) for _ in range(config.n_layer)])
        self.norm_f = nn.LayerNorm((config.n_embd,), epsilon=1e-5)
        self.lm_head = nn.Dense(config.n_embd, config.vocab_size, has_bias=False)
        self.lm_head.weight = self.wte.embedding_table

    def construct(self, idx):
        pos = ops.arange(0, idx.shape[1])
        x = self.wte(idx) + self.wpe(pos)
        x = self.norm_f(self.blocks(x))
        return self.lm_head(x)


def get_batch(data, config, rng):
    ix = rng.randint(len(data) - config.block_size, size=config.batch_size)
    x = np.stack([data[i:i + config.block_size] for i in ix])
    y = np.stack([data[i + 1:i + 1 + config.block_size] for i in ix])
    return Tensor(x, ms.int32), Tensor(y, ms.int32)


def markov_text(n, vocab, rng):
    follow = rng.randint(0, vocab, size=(vocab, 3))
    out = np.zeros(n, dtype=np.int64)
    for i in range(1, n):
        out[i] = follow[out[i - 1], rng.randint(3)]
    return out


def main():
    config = Config()
    ms.set_seed(42)
    rng = np.random.RandomState(42)
    data = markov_text(3000, config.vocab_size, rng)
    model = GPT(config)
    optimizer = optim.AdamW(model.trainable_params(), lr=config.learning_rate, betas=(0.9, 0.95),
                            weight_decay=config.weight_decay)

    def forward_fn(xb, yb):
        logits = model(xb)
        return ops.cross_entropy(logits.view(-1, config.vocab_size), yb.view(-1))

    grad_fn = ms.value_and_grad(forward_fn, None, model.trainable_params())
    model.set_train()
    for it in range(config.max_iters):
        xb, yb = get_batch(data, config, rng)
        loss, grads = grad_fn(xb, yb)
        optimizer(grads)
        print(f"iter {it}: loss {loss.asnumpy():.4f}")


if __name__ == "__main__":
    main()
