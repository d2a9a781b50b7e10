"""`--train`: long runs followed in sampled steps."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Done, Parity

from parity.options import Options

SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [STEP])
generator = torch.Generator().manual_seed(1)
for step in range(40):
    x = torch.randn(12, 6, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    schedule.step()
"""


def test_sampled_steps() -> None:
    assert Options(train=0).sampled is None
    assert Options(steps=3, train=3).sampled is None
    assert Options(steps=3, train=60).sampled == [0, 1, 2, 5, 10, 20, 50, 59]
    assert (Options(steps=3, train=60).length, Options(steps=5).length) == (60, 5)


def train(parity: Parity, candidate: str, *words: str) -> Done:
    parity.write("ref.py", SCRIPT.replace("STEP", "15"))
    parity.write("cand.py", candidate)
    return parity("compare", "ref.py", "cand.py", "--format", "json", "--train", "30", *words)


def curve(document: dict[str, Any]) -> dict[str, Any]:
    (found,) = [f for f in document["findings"] if f["kind"] == "training-curve"]
    return dict(found)


@pytest.mark.full
def test_a_faithful_copy_stays_within_noise(parity: Parity) -> None:
    done = train(parity, SCRIPT.replace("STEP", "15"))
    assert done.code == 0, done.document["headline"]
    stage = done.document["stages"]["training"]
    assert stage["status"] == "match"
    assert stage["total"] == 30


@pytest.mark.full
def test_a_late_fault_is_found_where_it_begins(parity: Parity) -> None:
    """The learning rate falls at another step: none of the first three shows it."""
    late = SCRIPT.replace("STEP", "9")
    done = train(parity, late, "--skip", "hyperparameters")
    assert done.code == 1
    first = done.document["findings"][done.document["first"]]
    assert (first["stage"], first["kind"], first["step"]) == ("optimizer", "lr-schedule", 10)
    assert "0.1 times the reference's" in first["message"]
    assert curve(done.document)["severity"] == "note"


@pytest.mark.full
def test_a_fault_of_the_first_step_explains_the_curve(parity: Parity) -> None:
    done = train(parity, SCRIPT.replace("STEP", "15").replace("BatchNorm1d(16)", "BatchNorm1d(16, eps=0.1)"))
    assert done.code == 1
    found = curve(done.document)
    assert found["severity"] == "note"
    assert "the loss leaves the reference's noise envelope at step 0" in found["message"]
    assert done.document["headline"] in found["message"]
