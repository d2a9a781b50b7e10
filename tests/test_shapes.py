"""Another shape is one fault, where it is made, and not one for each layer that it comes to."""

from __future__ import annotations

from conftest import Parity

SCRIPT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = nn.functional.max_pool2d(x, 3, 2, ceil_mode={ceil})
        x = torch.relu(self.third(torch.relu(self.second(x))))
        return self.fc(x.mean((2, 3)))

torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(2):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(torch.randn(4, 3, 12, 12)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
"""


def test_the_layers_behind_only_inherit_it(parity: Parity) -> None:
    parity.write("ref.py", SCRIPT.format(ceil=True))
    parity.write("cand.py", SCRIPT.format(ceil=False))
    document = parity("compare", "ref.py", "cand.py", "--format", "json", "--steps", "1").document
    (fault,) = [f for f in document["findings"] if f["severity"] == "fault"]
    assert (fault["kind"], fault["stage"]) == ("shape", "forward")
    assert "max_pool2d" in fault["op"]
    assert fault["candidate"]["line"] == 1 + SCRIPT[: SCRIPT.index("ceil_mode")].count("\n")
    assert (fault["error"], fault["floor"], fault["ratio"]) == (None, None, None)
    inherited = {f["candidate"]["path"] for f in document["findings"] if f["status"] == "propagated"}
    assert "third" in inherited
