"""Scripts that call a model and never update it: the forward pass is judged, and nothing else is missing."""

from __future__ import annotations

import pytest
from conftest import TRAINS, Done, Parity

TORCH = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
model.eval()
with torch.{mode}():
    for x in torch.randn(20, 3, 8, 8).split(5):
        print(torch.softmax(model(x), 1).argmax(1))
"""
MINDSPORE = """
import mindspore as ms
import numpy as np
from mindspore import nn, ops

conv = nn.Conv2d(3, 4, 3, pad_mode="pad", padding=1, has_bias=True)
model = nn.SequentialCell(conv, nn.BatchNorm2d(4, eps={eps}), nn.ReLU(), nn.Flatten(), nn.Dense(256, 5))
model.set_train(False)
for x in np.random.randn(4, 5, 3, 8, 8).astype(np.float32):
    print(ops.softmax(model(ms.Tensor(x)), 1).argmax(1))
"""
CLEAN, FAULTY = MINDSPORE.format(eps="1e-5"), MINDSPORE.format(eps="1e-3")


def compare(parity: Parity, reference: str, candidate: str, *words: str) -> Done:
    parity.write("ref.py", reference)
    parity.write("cand.py", candidate)
    return parity("compare", "ref.py", "cand.py", "--format", "json", *words)


def kinds(done: Done) -> dict[str, str]:
    """The introduced faults: kind to stage."""
    return {f["kind"]: f["stage"] for f in done.document["findings"] if f["severity"] == "fault"}


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_clean(parity: Parity, mode: str) -> None:
    done = compare(parity, TORCH.format(mode=mode), CLEAN)
    assert (done.code, done.document["verdict"]) == (0, "match"), done.err
    stages = {name: stage["status"] for name, stage in done.document["stages"].items()}
    assert stages["forward"] == "match"
    assert {stages[name] for name in ("loss", "backward", "optimizer")} == {"absent"}
    assert (done.document["reference"]["steps"], done.document["candidate"]["steps"]) == (3, 3)


def test_a_fault_is_found_in_its_layer(parity: Parity) -> None:
    done = compare(parity, TORCH.format(mode="no_grad"), FAULTY)
    assert done.code == 1
    first = done.document["findings"][done.document["first"]]
    assert (first["candidate"]["path"], first["reference"]["path"]) == ("1", "1")


def test_fewer_calls_are_a_fault(parity: Parity) -> None:
    fewer = TORCH.format(mode="no_grad").replace(".split(5)", ".split(10)[:1]").replace("(20, 3", "(10, 3")
    done = compare(parity, TORCH.format(mode="no_grad").replace(".split(5)", ".split(10)"), fewer)
    assert done.code == 1
    assert "step-count" in kinds(done)


def test_a_training_script_told_not_to_train_runs_again(parity: Parity) -> None:
    """It speaks of an optimizer, so that only its end tells that it never calls one."""
    script = TORCH.format(mode="no_grad") + "\nprint('ran')\nif False:\n    torch.optim.SGD(model.parameters(), 0.1)\n"
    done = compare(parity, script, script)
    assert done.code == 0
    assert done.err.count("ran\n") == 1, "the second run is silent, and the candidate stops after its third call"


def test_training_behind_other_words(parity: Parity) -> None:
    """A script that was taken for one that only calls its model, until it makes an optimizer."""
    hidden = TRAINS.format(steps=3, after="").replace("torch.optim.SGD", "getattr(torch, 'op' + 'tim').SGD")
    hidden = hidden.replace("loss.backward()", "getattr(loss, 'back' + 'ward')()").replace("optimizer", "updater")
    hidden = hidden.replace("for step", "model(torch.ones(1, 4))\nfor step")
    done = compare(parity, hidden, hidden)
    assert done.code == 0
    assert done.document["stages"]["optimizer"]["status"] == "match"


def test_a_candidate_that_never_updates(parity: Parity) -> None:
    reference = TRAINS.format(steps=3, after="")
    done = compare(parity, reference, reference.replace("optimizer.step()", "pass"))
    assert done.code == 1
    assert kinds(done) == {"never-updated": "optimizer"}
    assert done.document["stages"]["loss"]["status"] == "match"
    assert done.document["stages"]["backward"]["status"] == "match"


def test_a_candidate_that_updates_alone(parity: Parity) -> None:
    candidate = TRAINS.format(steps=3, after="")
    reference = candidate.replace("loss.backward()", "pass").replace("optimizer.step()", "pass")
    done = compare(parity, reference, candidate)
    assert done.code == 1
    assert kinds(done) == {"updated": "optimizer"}


def test_gradients_without_an_optimizer(parity: Parity) -> None:
    script = TRAINS.format(steps=3, after="").replace("optimizer.step()", "pass")
    error = compare(parity, script, script).document["error"]
    assert error["slug"] == "no-model-called"
    assert "no step of an optimizer was seen" in error["message"]


def test_a_model_without_parameters(parity: Parity) -> None:
    script = "import torch; torch.nn.ReLU()(torch.ones(3))"
    error = compare(parity, script, script).document["error"]
    assert error["slug"] == "no-model-called"
    assert "none that holds parameters" in error["message"]
