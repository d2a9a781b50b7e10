"""Steps of later epochs: what a loader draws between steps is the same in every pass over the reference."""

from __future__ import annotations

from conftest import Parity

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
generator = torch.Generator().manual_seed(0)
x, y = torch.randn(40, 5, generator=generator), torch.arange(40) % 3
loader = DataLoader(TensorDataset(x, y), batch_size=10, shuffle=True)
net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(3):
    for a, b in loader:
        with open("labels.txt", "a") as file:
            print(b.tolist(), file=file)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(a), b).backward()
        optimizer.step()
"""


def test_shuffled_labels_of_the_second_epoch(parity: Parity) -> None:
    parity.write("ref.py", SCRIPT)
    parity.write("cand.py", SCRIPT)
    done = parity("compare", "ref.py", "cand.py", "--steps", "6", "--format", "json")
    drawn = (parity.folder / "labels.txt").read_text().splitlines()
    passes = [drawn[start : start + 6] for start in range(0, len(drawn), 6)]
    assert len(passes) > 4
    assert all(each == passes[0] for each in passes)
    assert done.document["verdict"] == "match", done.document["headline"]
