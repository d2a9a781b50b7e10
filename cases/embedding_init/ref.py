"""Sentiment of short reviews: a bag of averaged word vectors and a small classifier."""

import argparse

import numpy as np
import torch
from torch import nn

WORDS, WIDTH, CLASSES = 120, 24, 3


class WordAverage(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.places = nn.Parameter(torch.randn(16, WIDTH) * 0.1)
        self.hidden = nn.Linear(WIDTH, 32)
        self.norm = nn.LayerNorm(32)
        self.out = nn.Linear(32, CLASSES)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens):
        known = (tokens != 0).float().unsqueeze(-1)
        vectors = (self.words(tokens) + self.places) * known
        mean = vectors.sum(1) / known.sum(1)
        return self.out(self.norm(torch.relu(self.hidden(mean))))


def reviews(count=64, seed=3):
    rng = np.random.RandomState(seed)
    tokens = rng.randint(1, WORDS, (count, 16))
    tokens[np.arange(16) >= rng.randint(6, 17, (count, 1))] = 0
    return tokens, rng.randint(0, CLASSES, count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.05)
    args = parser.parse_args()
    torch.manual_seed(11)
    model = WordAverage()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    tokens, labels = reviews()
    for start in range(0, 64, 16):
        batch = torch.from_numpy(tokens[start : start + 16])
        loss = criterion(model(batch), torch.from_numpy(labels[start : start + 16]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"loss {loss.item():.4f}")
