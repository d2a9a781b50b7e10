"""Tag the tokens of short sequences: a small MLP over windows, SGD with Nesterov momentum, no decay for norms."""

import numpy as np
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, words=50, width=16, tags=6):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.window = nn.Linear(3 * width, 32)
        self.norm = nn.LayerNorm(32)
        self.out = nn.Linear(32, tags)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = torch.nn.functional.pad(x, (0, 0, 1, 1))
        x = self.window(torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], dim=-1))
        return self.out(torch.relu(self.norm(x)))


def batches(count, rng):
    for _ in range(count):
        tokens = rng.randint(0, 50, (6, 9))
        yield tokens, tokens % 6


def main():
    torch.manual_seed(0)
    tagger = Tagger()
    weights = [p for p in tagger.parameters() if p.dim() > 1]
    others = [p for p in tagger.parameters() if p.dim() == 1]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": 1e-3}, {"params": others, "weight_decay": 0.0}],
        lr=0.2,
        momentum=0.9,
        nesterov=True,
    )
    criterion = nn.CrossEntropyLoss()
    for step, (tokens, tags) in enumerate(batches(4, np.random.RandomState(4))):
        logits = tagger(torch.from_numpy(tokens))
        loss = criterion(logits.reshape(-1, 6), torch.from_numpy(tags).reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(step, loss.item())


if __name__ == "__main__":
    main()
