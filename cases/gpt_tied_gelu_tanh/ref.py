"""
A tiny GPT language model. Input and output embeddings are tied.
Follows nanoGPT in spirit; linear layers carry no bias.
"""
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F


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


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.n_head = config.n_head
        mask = torch.triu(torch.ones(config.block_size, config.block_size, dtype=torch.bool), diagonal=1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))
        att = q @ k.transpose(-2, -1) / math.sqrt(C // self.n_head)
        att = att.masked_fill(self.mask[:T, :T], float("-inf"))
        att = F.softmax(att, dim=-1)
        y = (att @ v).transpose(1, 2).reshape(B, T, C)
        return self.proj(y)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.gelu = nn.GELU()
        self.proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x):
        return self.proj(self.gelu(self.fc(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.norm2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.norm_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        for emb in (self.wte, self.wpe):
            nn.init.normal_(emb.weight, std=0.02)
        for name, p in self.named_parameters():
            if name.endswith("fc.weight"):
                nn.init.kaiming_normal_(p)
            elif name.endswith("qkv.weight") or name.endswith("proj.weight"):
                nn.init.xavier_normal_(p)
        self.lm_head.weight = self.wte.weight  # tie

    def forward(self, idx):
        pos = torch.arange(0, idx.size(1), dtype=torch.long)
        x = self.wte(idx) + self.wpe(pos)
        x = self.norm_f(self.blocks(x))
        return self.lm_head(x)


def get_batch(data, config, rng):
    ix = rng.randint(len(data) - config.block_size, size=config.batch_size)
    x = np.stack([data[i:i + config.block_size] for i in ix])
    y = np.stack([data[i + 1:i + 1 + config.block_size] for i in ix])
    return torch.from_numpy(x), torch.from_numpy(y)


def markov_text(n, vocab, rng):
    """a first-order chain: the next token is one of three followers of the current one"""
    follow = rng.randint(0, vocab, size=(vocab, 3))
    out = np.zeros(n, dtype=np.int64)
    for i in range(1, n):
        out[i] = follow[out[i - 1], rng.randint(3)]
    return out


def main():
    config = Config()
    torch.manual_seed(42)
    rng = np.random.RandomState(42)
    data = markov_text(3000, config.vocab_size, rng)
    model = GPT(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95),
                                  weight_decay=config.weight_decay)
    model.train()
    for it in range(config.max_iters):
        xb, yb = get_batch(data, config, rng)
        logits = model(xb)
        loss = F.cross_entropy(logits.view(-1, config.vocab_size), yb.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        print(f"iter {it}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
