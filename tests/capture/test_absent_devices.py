"""A PyTorch script that asks for devices which this machine lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from traces import Captured

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")

SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)
device = torch.device({device!r})
torch.cuda.set_device(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).cuda()
model.to(device)
weight = torch.ones(2, device={device!r})
torch.save({{"weight": weight}}, "weight.pth")
weight = torch.load("weight.pth", map_location=device)["weight"]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cuda")
rows = torch.arange(10.0).reshape(2, 5, 1) / 7
for row in rows:
    x = (row * torch.ones(4)).to(device, non_blocking=True)
    y = torch.tensor([0, 1, 0, 1, 1], device="cuda").to("cuda:0", torch.int64)
    with torch.autocast("cuda"):
        loss = nn.functional.cross_entropy(model(x), y.cuda(non_blocking=True), weight=weight)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    print("loss", loss.item())
    scaler.step(optimizer)
    scaler.update()
    torch.cuda.synchronize()
"""


@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_it_runs_on_the_cpu(tmp_path: Path, device: str) -> None:
    run = Captured(tmp_path, SCRIPT.format(device=device), "--steps", "2")
    assert f"device {device.partition(':')[0]} was run on the CPU" in run.trace.meta.notes
    assert run.trace.meta.steps == 2
    assert len(run.numbers("loss")) == 2
