"""A recurrent tagger: embedding, bidirectional LSTM, a hand-written gated cell, attention pooling (PyTorch)."""

import numpy as np
import torch
import torch.nn as nn


class GatedCell(nn.Module):
    """A GRU cell as one writes it by hand."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.x2h = nn.Linear(input_size, 3 * hidden_size)
        self.h2h = nn.Linear(hidden_size, 3 * hidden_size)

    def forward(self, x, h):
        xr, xz, xn = self.x2h(x).chunk(3, dim=-1)
        hr, hz, hn = self.h2h(h).chunk(3, dim=-1)
        reset = torch.sigmoid(xr + hr)
        update = torch.sigmoid(xz + hz)
        new = torch.tanh(xn + reset * hn)
        return (1 - update) * new + update * h


class Recurrent(nn.Module):
    def __init__(self, vocab, embed_dim, hidden, classes):
        super().__init__()
        self.embedding = nn.Embedding(vocab, embed_dim)
        self.lstm = nn.LSTM(embed_dim, hidden, batch_first=True, bidirectional=True)
        self.cell = GatedCell(2 * hidden, hidden)
        self.attention = nn.Linear(hidden, 1, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.decoder = nn.Linear(hidden, classes)

    def forward(self, tokens):
        x, _ = self.lstm(self.embedding(tokens))
        h = torch.zeros(x.size(0), self.cell.hidden_size)
        outputs = []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            outputs.append(h)
        states = torch.stack(outputs, dim=1)
        alpha = torch.softmax(self.attention(torch.tanh(states)), dim=1)
        pooled = (alpha * states).sum(dim=1)
        return self.decoder(self.norm(pooled + h))


torch.manual_seed(9)
rng = np.random.RandomState(5)
model = Recurrent(vocab=40, embed_dim=16, hidden=20, classes=6)
class_weight = torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0, 1.5])
loss_fn = nn.CrossEntropyLoss(weight=class_weight)
opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=False)

for it in range(4):
    tokens = torch.tensor(rng.randint(0, 40, (8, 7)))
    target = torch.tensor(rng.randint(0, 6, 8))
    opt.zero_grad()
    loss = loss_fn(model(tokens), target)
    loss.backward()
    torch.nn.utils.clip_grad_value_(model.parameters(), 0.05)
    opt.step()
    print(f"iteration {it}, loss: {loss.item():.7f}")
