"""A neural probabilistic language model: a window of words predicts the next one; input and output embeddings are tied."""
import numpy as np
import torch
from torch import nn, optim


class WindowLM(nn.Module):
    def __init__(self, vocab, dim, window, hidden):
        super().__init__()
        self.wte = nn.Embedding(vocab, dim)
        self.hidden = nn.Linear(window * dim, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.project = nn.Linear(hidden, dim)
        self.act = nn.GELU()
        self.head = nn.Linear(dim, vocab, bias=False)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.normal_(self.wte.weight, std=0.05)
        self.head.weight = self.wte.weight

    def forward(self, context):
        x = self.wte(context).flatten(1)
        x = self.act(self.norm(self.hidden(x)))
        return self.head(self.project(x))


def windows(text, window, batch, steps, seed):
    rng = np.random.RandomState(seed)
    for _ in range(steps):
        start = rng.randint(0, len(text) - window, batch)
        yield (np.stack([text[s:s + window] for s in start]), np.array([text[s + window] for s in start]))


def make_text(length, vocab, seed):
    rng = np.random.RandomState(seed)
    follow = rng.randint(0, vocab, (vocab, 2))
    text = [0]
    for coin in rng.randint(0, 2, length):
        text.append(int(follow[text[-1], coin]))
    return np.array(text)


def train(vocab=60, dim=16, window=4, hidden=32, batch=12, steps=5):
    torch.manual_seed(123)
    text = make_text(2000, vocab, seed=5)
    model = WindowLM(vocab, dim, window, hidden)
    opt = optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05)
    loss_fn = nn.CrossEntropyLoss()
    model.train()
    for step, (context, target) in enumerate(windows(text, window, batch, steps, seed=6)):
        opt.zero_grad()
        loss = loss_fn(model(torch.from_numpy(context)), torch.from_numpy(target))
        loss.backward()
        opt.step()
        print(f"step {step} loss {loss.item():.4f} perplexity {loss.exp().item():.2f}")


if __name__ == "__main__":
    train()
