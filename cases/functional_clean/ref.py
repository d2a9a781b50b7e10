"""Attention over the steps of a signal; the gradients come from torch.func, the update from an optimizer."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad_and_value


class Pooling(nn.Module):
    def __init__(self, channels=6, dim=12, classes=3):
        super().__init__()
        self.embed = nn.Linear(channels, dim)
        self.score = nn.Linear(dim, 1)
        self.classify = nn.Linear(dim, classes)

    def forward(self, signal):
        x = F.silu(self.embed(signal))
        weights = F.softmax(self.score(x), dim=1)
        return self.classify((weights * x).sum(dim=1))


def loss_of(params, model, signal, label):
    logits = functional_call(model, params, (signal,))
    loss = F.nll_loss(F.log_softmax(logits, dim=-1), label)
    return loss, logits


def main():
    torch.manual_seed(35)
    rng = np.random.default_rng(35)
    signals = rng.standard_normal((40, 9, 6)).astype(np.float32)
    labels = rng.integers(0, 3, 40)
    model = Pooling()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for i in range(4):
        x, y = torch.from_numpy(signals[i * 10 : i * 10 + 10]), torch.from_numpy(labels[i * 10 : i * 10 + 10])
        params = {name: p.detach() for name, p in model.named_parameters()}
        grads, (loss, logits) = grad_and_value(loss_of, has_aux=True)(params, model, x, y)
        for name, p in model.named_parameters():
            p.grad = grads[name]
        optimizer.step()
        print(i, loss.item(), (logits.argmax(1) == y).float().mean().item())


main()
