"""Star ratings of short reviews: bag of two convolutions over words, with warm-up and label smoothing."""
import argparse

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

WORDS = 120
LENGTH = 20


def make_reviews(count, seed):
    """each rating has words of its own; a third of every review is noise"""
    rng = np.random.RandomState(seed)
    stars = rng.randint(0, 5, count)
    words = rng.randint(0, 20, (count, LENGTH)) + 20 * stars[:, None]
    noise = rng.rand(count, LENGTH) < 0.33
    words[noise] = rng.randint(0, WORDS, noise.sum())
    return words.astype(np.int64), stars.astype(np.int64)


class TextCNN(nn.Module):
    def __init__(self, dim=24, channels=16):
        super().__init__()
        self.embed = nn.Embedding(WORDS, dim)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.drop_in = nn.Dropout(0.1)
        self.conv3 = nn.Conv1d(dim, channels, 3, padding=1)
        self.conv5 = nn.Conv1d(dim, channels, 5, padding=2)
        self.norm = nn.LayerNorm(2 * channels)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(2 * channels, 5)

    def forward(self, words):
        x = self.drop_in(self.embed(words)).transpose(1, 2)
        x = torch.cat([torch.relu(self.conv3(x)), torch.relu(self.conv5(x))], dim=1)
        x = self.norm(x.max(dim=2).values)
        return self.fc(self.dropout(x))


def warmup(step, steps=4):
    return min(1.0, (step + 1) / steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()

    torch.manual_seed(7)
    words, stars = make_reviews(args.batch_size * args.steps, seed=3)
    model = TextCNN()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    scheduler = LambdaLR(optimizer, warmup)

    model.train()
    for i in range(args.steps):
        part = slice(i * args.batch_size, (i + 1) * args.batch_size)
        x, y = torch.from_numpy(words[part]), torch.from_numpy(stars[part])
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        print(f"step {i}: loss {loss.item():.4f}")
