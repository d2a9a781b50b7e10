"""
Sentence classifier with a pre-LN Transformer encoder.
Toy language: a sentence is positive when it has more tokens of the upper half of the vocabulary.
"""
import argparse

import numpy as np
import torch
import torch.nn as nn


class Encoder(nn.Module):
    def __init__(self, opt):
        super().__init__()
        self.token = nn.Embedding(opt.vocab, opt.dim)
        self.pos = nn.Parameter(torch.empty(1, opt.maxlen, opt.dim))
        self.layers = nn.ModuleList([
            nn.TransformerEncoderLayer(
                d_model=opt.dim,
                nhead=opt.heads,
                dim_feedforward=opt.ff,
                dropout=opt.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(opt.depth)
        ])
        self.final_norm = nn.LayerNorm(opt.dim)
        self.cls = nn.Linear(opt.dim, 2)
        nn.init.normal_(self.token.weight, std=1.0)
        nn.init.trunc_normal_(self.pos, std=0.1, a=-0.2, b=0.2)

    def forward(self, ids):
        x = self.token(ids) + self.pos[:, :ids.size(1)]
        for layer in self.layers:
            x = layer(x)
        x = self.final_norm(x)
        return self.cls(x[:, 0])


def sentences(n, length, vocab, seed=0):
    rng = np.random.RandomState(seed)
    ids = rng.randint(0, vocab, size=(n, length))
    y = ((ids >= vocab // 2).sum(1) > length // 2).astype(np.int64)
    return ids, y


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
    torch.manual_seed(11)
    ids, labels = sentences(5 * opt.bsz, opt.maxlen, opt.vocab)
    model = Encoder(opt)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    sgd = torch.optim.SGD(model.parameters(), lr=opt.lr, momentum=0.9)
    model.train()
    for step in range(len(ids) // opt.bsz):
        rows = slice(step * opt.bsz, (step + 1) * opt.bsz)
        logits = model(torch.from_numpy(ids[rows]))
        loss = criterion(logits, torch.from_numpy(labels[rows]))
        sgd.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), opt.clip)
        sgd.step()
        print(f"step {step} loss {loss.item():.5f}")


if __name__ == "__main__":
    main()
