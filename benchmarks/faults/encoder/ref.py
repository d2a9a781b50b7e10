"""A post-norm transformer encoder that classifies token sequences, in plain PyTorch."""

import math

import numpy as np
import torch
from torch import nn

VOCAB, LENGTH, DIM, HEADS, LAYERS, CLASSES = 60, 12, 32, 4, 2, 4


class SelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def split(self, x):
        b, n, d = x.shape
        return x.view(b, n, self.heads, d // self.heads).transpose(1, 2)

    def forward(self, x, mask):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(mask[:, None, None, :] == 0, -1e9)
        context = self.dropout(scores.softmax(dim=-1)) @ v
        b, h, n, d = context.shape
        return self.out(context.transpose(1, 2).reshape(b, n, h * d))


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.attention = SelfAttention(dim, heads, dropout)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)
        self.gelu = nn.GELU()
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self.dropout(self.fc2(self.gelu(self.fc1(x)))))


class Classifier(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, DIM)
        self.positions = nn.Embedding(LENGTH, DIM)
        self.norm = nn.LayerNorm(DIM, eps=1e-6)
        self.layers = nn.ModuleList([EncoderLayer(DIM, HEADS, dropout) for _ in range(LAYERS)])
        self.pooler = nn.Linear(DIM, DIM)
        self.head = nn.Linear(DIM, CLASSES)

    def forward(self, ids, mask):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))[None]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        weights = mask[:, :, None]
        pooled = (x * weights).sum(1) / weights.sum(1)
        return self.head(torch.tanh(self.pooler(pooled)))


def make_batches(steps=4, size=6):
    rng = np.random.RandomState(7)
    for _ in range(steps):
        ids = rng.randint(1, VOCAB, (size, LENGTH))
        lengths = rng.randint(4, LENGTH + 1, size)
        mask = (np.arange(LENGTH)[None] < lengths[:, None]).astype(np.float32)
        labels = rng.randint(0, CLASSES, size)
        yield ids * mask.astype(np.int64), mask, labels


def train():
    torch.manual_seed(3)
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    model.train()
    for step, (ids, mask, labels) in enumerate(make_batches()):
        logits = model(torch.from_numpy(ids), torch.from_numpy(mask))
        loss = criterion(logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        print(f"{step} loss={loss.item():.7f}")


if __name__ == "__main__":
    train()
