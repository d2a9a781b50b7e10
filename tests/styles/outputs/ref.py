from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
import torch.nn as nn


@dataclass
class Output:
    logits: torch.Tensor
    hidden: Optional[tuple] = None
    loss: Optional[torch.Tensor] = None


class Tagger(nn.Module):
    def __init__(self, vocab=30, dim=12, tags=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, padding_idx=0)
        self.rnn = nn.GRU(dim, dim, batch_first=True, num_layers=2)
        self.cls = nn.Linear(dim, tags)

    def forward(self, ids, labels=None):
        h, last = self.rnn(self.embed(ids))
        logits = self.cls(h)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.view(-1, logits.size(-1)), labels.view(-1), ignore_index=-100)
        return Output(logits=logits, hidden=(h, (last, None)), loss=loss)


def main():
    torch.manual_seed(0)
    model = Tagger()
    seen = []
    model.cls.register_forward_hook(lambda m, i, o: seen.append(o.detach().mean()))
    opt = torch.optim.Adamax(model.parameters(), lr=2e-3)
    rs = np.random.RandomState(1)
    for _ in range(3):
        ids = torch.as_tensor(rs.randint(1, 30, (4, 7)))
        labels = torch.as_tensor(rs.randint(0, 4, (4, 7)))
        labels[:, -1] = -100
        out = model(ids, labels=labels)
        opt.zero_grad()
        out.loss.backward()
        opt.step()


main()
