"""A fine-tuned encoder block with AdamW, a smaller learning rate for the body and a cosine schedule, in PyTorch."""

import argparse
import math

import numpy as np
import torch
import torch.nn as nn


class Body(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = self.norm(x + self.fc2(torch.nn.functional.silu(self.fc1(x))))
        return x.mean(1)


class Model(nn.Module):
    def __init__(self, vocab=30, width=16, classes=4):
        super().__init__()
        self.body = Body(vocab, width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens):
        return self.head(self.body(tokens))


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--weight-decay", type=float, default=0.05)
args = parser.parse_args()
torch.manual_seed(3)
rng = np.random.RandomState(8)
model = Model()
params = [{"params": model.body.parameters(), "lr": args.lr / 10}, {"params": model.head.parameters(), "lr": args.lr}]
optimizer = torch.optim.AdamW(params, lr=args.lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=args.weight_decay)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / 8)))
loss_fn = nn.CrossEntropyLoss()
for iteration in range(3):
    tokens = torch.from_numpy(rng.randint(0, 30, (8, 6)))
    labels = torch.from_numpy(rng.randint(0, 4, 8))
    loss = loss_fn(model(tokens), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    print(f"iteration {iteration}, loss: {loss.item():.7f}")
