"""BERT-like masked token model, small and readable."""
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

hp = SimpleNamespace(vocab=72, seq=12, hidden=32, heads=4, inner=64, layers=2,
                     mask_id=1, init_range=0.02, batch=8, steps=5, lr=0.05)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(hp.hidden, hp.hidden)
        self.key = nn.Linear(hp.hidden, hp.hidden)
        self.value = nn.Linear(hp.hidden, hp.hidden)
        self.dense = nn.Linear(hp.hidden, hp.hidden)

    def split(self, t):
        return t.view(t.size(0), -1, hp.heads, hp.hidden // hp.heads).permute(0, 2, 1, 3)

    def forward(self, h):
        q, k, v = self.split(self.query(h)), self.split(self.key(h)), self.split(self.value(h))
        scores = torch.matmul(q, k.transpose(-1, -2)) / (hp.hidden // hp.heads) ** 0.5
        context = torch.matmul(scores.softmax(dim=-1), v)
        context = context.permute(0, 2, 1, 3).reshape(h.shape)
        return self.dense(context)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1 = nn.LayerNorm(hp.hidden)
        self.attention = SelfAttention()
        self.ln2 = nn.LayerNorm(hp.hidden)
        self.intermediate = nn.Linear(hp.hidden, hp.inner)
        self.output = nn.Linear(hp.inner, hp.hidden)

    def forward(self, h):
        h = h + self.attention(self.ln1(h))
        return h + self.output(F.gelu(self.intermediate(self.ln2(h))))


class MaskedLM(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok = nn.Embedding(hp.vocab, hp.hidden)
        self.pos = nn.Embedding(hp.seq, hp.hidden)
        self.encoder = nn.ModuleList(Layer() for _ in range(hp.layers))
        self.norm = nn.LayerNorm(hp.hidden)
        self.decoder = nn.Linear(hp.hidden, hp.vocab)
        self.apply(self.init_weights)

    def init_weights(self, m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            m.weight.data.normal_(mean=0.0, std=hp.init_range)
        if isinstance(m, nn.Linear):
            m.bias.data.zero_()

    def forward(self, ids):
        h = self.tok(ids) + self.pos(torch.arange(ids.size(1)))
        for layer in self.encoder:
            h = layer(h)
        return self.decoder(self.norm(h))


def mlm_batches():
    """arithmetic progressions modulo the vocabulary, 25 % of the tokens masked; -100 is ignored by the loss"""
    rng = np.random.RandomState(512)
    for _ in range(hp.steps):
        start = rng.randint(2, hp.vocab, (hp.batch, 1))
        stride = rng.randint(1, 5, (hp.batch, 1))
        ids = 2 + (start + stride * np.arange(hp.seq)) % (hp.vocab - 2)
        masked = rng.rand(hp.batch, hp.seq) < 0.25
        masked[:, 0] = True
        yield np.where(masked, hp.mask_id, ids), np.where(masked, ids, -100)


torch.manual_seed(2024)
model = MaskedLM()
optimizer = torch.optim.SGD(model.parameters(), lr=hp.lr, momentum=0.9)
model.train()
for step, (ids, target) in enumerate(mlm_batches()):
    logits = model(torch.from_numpy(ids))
    loss = F.cross_entropy(logits.view(-1, hp.vocab), torch.from_numpy(target).view(-1), ignore_index=-100)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("step", step, "mlm loss", "%.5f" % loss.item())
