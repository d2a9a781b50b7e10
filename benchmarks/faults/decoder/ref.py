"""A pre-norm causal language model with tied embeddings, in plain PyTorch."""

import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

PAD = 0


def sinusoids(length, dim):
    position = np.arange(length)[:, None]
    rate = np.exp(-math.log(10000.0) * np.arange(0, dim, 2) / dim)
    table = np.zeros((length, dim), np.float32)
    table[:, 0::2] = np.sin(position * rate)
    table[:, 1::2] = np.cos(position * rate)
    return table


class CausalAttention(nn.Module):
    def __init__(self, dim, n_head):
        super().__init__()
        self.n_head = n_head
        self.c_attn = nn.Linear(dim, 3 * dim)
        self.c_proj = nn.Linear(dim, dim)

    def forward(self, x, keep):
        b, t, c = x.shape
        q, k, v = self.c_attn(x).split(c, dim=2)
        q = q.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        k = k.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        v = v.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        causal = torch.tril(torch.ones(t, t, dtype=torch.bool))
        att = att.masked_fill(~(causal & keep[:, None, None, :]), float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    def __init__(self, dim, n_head):
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = CausalAttention(dim, n_head)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 3 * dim), nn.GELU(approximate="tanh"), nn.Linear(3 * dim, dim))

    def forward(self, x, keep):
        x = x + self.attn(self.ln_1(x), keep)
        return x + self.mlp(self.ln_2(x))


class LanguageModel(nn.Module):
    def __init__(self, vocab, dim, n_head, n_layer, length):
        super().__init__()
        self.dim = dim
        self.wte = nn.Embedding(vocab, dim)
        nn.init.normal_(self.wte.weight, std=0.1)
        self.register_buffer("wpe", torch.from_numpy(sinusoids(length, dim)), persistent=False)
        self.h = nn.ModuleList([Block(dim, n_head) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(dim)

    def forward(self, ids):
        keep = ids != PAD
        x = self.wte(ids) * math.sqrt(self.dim) + self.wpe[: ids.shape[1]]
        for block in self.h:
            x = block(x, keep)
        return self.ln_f(x) @ self.wte.weight.t()


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
    torch.manual_seed(5)
    model = LanguageModel(vocab=50, dim=32, n_head=4, n_layer=2, length=16)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    for step, ids in enumerate(batches(args.steps, np.random.RandomState(31))):
        ids = torch.from_numpy(ids)
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"iter {step}: loss {loss.item():.7f}")


if __name__ == "__main__":
    main()
