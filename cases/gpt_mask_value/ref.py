# decoder-only transformer on the copy task (repeat the first half of the sequence)
import argparse
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--d", type=int, default=32)
parser.add_argument("--nheads", type=int, default=2)
parser.add_argument("--nlayers", type=int, default=1)
parser.add_argument("--nvocab", type=int, default=20)
parser.add_argument("--seqlen", type=int, default=14)
parser.add_argument("--bs", type=int, default=8)
parser.add_argument("--niter", type=int, default=5)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()


def linear(i, o):
    lin = nn.Linear(i, o)
    nn.init.xavier_uniform_(lin.weight)
    nn.init.zeros_(lin.bias)
    return lin


class Attention(nn.Module):
    def __init__(self, d, nheads):
        super().__init__()
        self.nheads, self.dh = nheads, d // nheads
        self.wq, self.wk, self.wv, self.wo = (linear(d, d) for _ in range(4))

    def forward(self, x, mask):
        b, t, d = x.shape
        q = self.wq(x).view(b, t, self.nheads, self.dh).transpose(1, 2)
        k = self.wk(x).view(b, t, self.nheads, self.dh).transpose(1, 2)
        v = self.wv(x).view(b, t, self.nheads, self.dh).transpose(1, 2)
        s = torch.einsum("bhid,bhjd->bhij", q, k) * self.dh ** -0.5
        s = s.masked_fill(mask, float("-inf"))
        o = torch.einsum("bhij,bhjd->bhid", F.softmax(s, dim=-1), v)
        return self.wo(o.transpose(1, 2).reshape(b, t, d))


class DecoderBlock(nn.Module):
    def __init__(self, d, nheads):
        super().__init__()
        self.ln_a = nn.LayerNorm(d)
        self.attn = Attention(d, nheads)
        self.ln_b = nn.LayerNorm(d)
        self.ffn = nn.Sequential(linear(d, 2 * d), nn.ReLU(), linear(2 * d, d))

    def forward(self, x, mask):
        x = x + self.attn(self.ln_a(x), mask)
        return x + self.ffn(self.ln_b(x))


class Decoder(nn.Module):
    def __init__(self, d, nheads, nlayers, nvocab, seqlen):
        super().__init__()
        self.emb = nn.Embedding(nvocab, d)
        self.pos = nn.Embedding(seqlen, d)
        nn.init.normal_(self.emb.weight, std=d ** -0.5)
        nn.init.normal_(self.pos.weight, std=d ** -0.5)
        self.blocks = nn.ModuleList([DecoderBlock(d, nheads) for _ in range(nlayers)])
        self.ln = nn.LayerNorm(d)

    def forward(self, tok):
        t = tok.size(1)
        mask = torch.ones(t, t, dtype=torch.bool).triu(1)
        x = self.emb(tok) + self.pos.weight[:t]
        for blk in self.blocks:
            x = blk(x, mask)
        return F.linear(self.ln(x), self.emb.weight)


torch.manual_seed(0)
model = Decoder(args.d, args.nheads, args.nlayers, args.nvocab, args.seqlen)
opt = torch.optim.SGD(model.parameters(), lr=args.lr)
rng = np.random.RandomState(3)
half = args.seqlen // 2

model.train()
t0 = time.time()
for it in range(args.niter):
    first = rng.randint(1, args.nvocab, size=(args.bs, half))
    seq = np.concatenate([first, first, np.zeros((args.bs, 1), int)], axis=1)
    inp, tgt = torch.tensor(seq[:, :-1]), torch.tensor(seq[:, 1:])
    out = model(inp)
    loss = F.nll_loss(F.log_softmax(out, dim=-1).flatten(0, 1), tgt.flatten())
    opt.zero_grad()
    loss.backward()
    opt.step()
    print("it %d  loss %.4f  (%.1fs)" % (it, loss.item(), time.time() - t0))
