"""A pre-norm causal language model with tied embeddings, ported to MindSpore."""

import argparse
import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal

PAD = 0


def sinusoids(length, dim):
    position = np.arange(length)[:, None]
    rate = np.exp(-math.log(10000.0) * np.arange(0, dim, 2) / dim)
    table = np.zeros((length, dim), np.float32)
    table[:, 0::2] = np.sin(position * rate)
    table[:, 1::2] = np.cos(position * rate)
    return table


class CausalSelfAttention(nn.Cell):
    def __init__(self, dim, n_head):
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Dense(dim, 3 * dim)
        self.proj = nn.Dense(dim, dim)
        self.scale = 1.0 / math.sqrt(dim // n_head)

    def construct(self, x, keep):
        b, t, c = x.shape
        q, k, v = ops.split(self.qkv(x), c, axis=2)
        q = q.reshape(b, t, self.n_head, c // self.n_head).swapaxes(1, 2)
        k = k.reshape(b, t, self.n_head, c // self.n_head).swapaxes(1, 2)
        v = v.reshape(b, t, self.n_head, c // self.n_head).swapaxes(1, 2)
        att = ops.matmul(q, k.swapaxes(-2, -1)) * self.scale
        causal = Tensor(np.tril(np.ones((t, t), dtype=bool)))
        allowed = ops.logical_and(causal, keep[:, None, None, :])
        att = att.masked_fill(ops.logical_not(allowed), float("-inf"))
        y = ops.matmul(ops.softmax(att, axis=-1), v)
        y = y.swapaxes(1, 2).reshape(b, t, c)
        return self.proj(y)


class FeedForward(nn.Cell):
    def __init__(self, dim):
        super().__init__()
        self.up = nn.Dense(dim, 3 * dim)
        self.act = nn.GELU()
        self.down = nn.Dense(3 * dim, dim)

    def construct(self, x):
        x = self.act(self.up(x))
        return self.down(x)


class DecoderLayer(nn.Cell):
    def __init__(self, dim, n_head):
        super().__init__()
        self.norm1 = nn.LayerNorm((dim,), epsilon=1e-5)
        self.attention = CausalSelfAttention(dim, n_head)
        self.norm2 = nn.LayerNorm((dim,), epsilon=1e-5)
        self.ffn = FeedForward(dim)

    def construct(self, x, keep):
        x = x + self.attention(self.norm1(x), keep)
        return x + self.ffn(self.norm2(x))


class LanguageModel(nn.Cell):
    def __init__(self, vocab, dim, n_head, n_layer, length):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, embedding_table=Normal(0.1))
        self.embed_scale = math.sqrt(dim)
        self.positions = Tensor(sinusoids(length, dim))
        self.layers = nn.CellList([DecoderLayer(dim, n_head) for _ in range(n_layer)])
        self.norm = nn.LayerNorm((dim,), epsilon=1e-5)

    def construct(self, ids):
        keep = ids != PAD
        x = self.embed(ids) * self.embed_scale
        x = x + self.positions[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, keep)
        x = self.norm(x)
        return ops.matmul(x, self.embed.embedding_table.T)


class TrainStep(nn.Cell):
    """Forward, backward and update, written by hand."""

    def __init__(self, network, optimizer):
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.weights = optimizer.parameters

    def compute_loss(self, ids):
        logits = self.network(ids[:, :-1])
        targets = ids[:, 1:].reshape(-1)
        logits = logits.reshape(-1, logits.shape[-1])
        return ops.cross_entropy(logits, targets, ignore_index=PAD)

    def construct(self, ids):
        loss, grads = ms.value_and_grad(self.compute_loss, None, self.weights)(ids)
        self.optimizer(grads)
        return loss


def batches(steps, rng):
    for _ in range(steps):
        ids = rng.randint(1, 50, (4, 15))
        for row, length in enumerate(rng.randint(8, 16, 4)):
            ids[row, length:] = PAD
        yield ids


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.05)
    args = parser.parse_args()
    ms.set_seed(5)
    model = LanguageModel(vocab=50, dim=32, n_head=4, n_layer=2, length=16)
    optimizer = nn.Momentum(model.trainable_params(), args.lr, 0.9)
    train_step = TrainStep(model, optimizer)
    train_step.set_train()
    for step, ids in enumerate(batches(args.steps, np.random.RandomState(31))):
        loss = train_step(Tensor(ids, ms.int32))
        print(f"iter {step}: loss {float(loss):.7f}")


if __name__ == "__main__":
    main()
