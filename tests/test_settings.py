"""Scripts that read options and a configuration file: where declared values come from, and all of them on request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Parity

REFERENCE = """
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--data-dir", default="torch_data")
    return parser.parse_args()


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.hidden = nn.Linear(8, config["model"]["width"])
        self.drop = nn.Dropout(config["model"]["dropout"])
        self.head = nn.Linear(config["model"]["width"], 3)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


def train_one_epoch(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def main():
    args = options()
    with open(Path(__file__).with_name("config.json")) as file:
        config = json.load(file)
    torch.manual_seed(3)
    model = Net(config)
    rng = np.random.RandomState(0)
    x, y = rng.randn(36, 8).astype(np.float32), rng.randint(0, 3, 36)
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=args.batch_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=config["optim"]["momentum"])
    for epoch in range(args.epochs):
        train_one_epoch(model, loader, optimizer)


main()
"""

CANDIDATE = """
import argparse
import json
from pathlib import Path

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--data-dir", default="ms_data")
    return parser.parse_args()


class Net(nn.Cell):
    def __init__(self, config):
        super().__init__()
        self.hidden = nn.Dense(8, config["model"]["width"])
        self.drop = nn.Dropout(p=config["model"]["dropout"])
        self.head = nn.Dense(config["model"]["width"], 3)

    def construct(self, x):
        return self.head(self.drop(ops.relu(self.hidden(x))))


def main():
    args = options()
    config = json.loads(Path(__file__).with_name("config_ms.json").read_text())
    ms.set_seed(3)
    model = Net(config)
    model.set_train()
    rng = np.random.RandomState(0)
    x, y = rng.randn(36, 8).astype(np.float32), rng.randint(0, 3, 36).astype(np.int32)
    loader = (
        ds.NumpySlicesDataset({"x": x, "y": y}, shuffle=False)
        .batch(args.batch_size)
    )
    optimizer = nn.Momentum(model.trainable_params(), args.lr, config["optim"]["momentum"])
    step = ms.value_and_grad(lambda x, y: ops.cross_entropy(model(x), y), None, optimizer.parameters)
    for epoch in range(args.epochs):
        for x, y in loader.create_tuple_iterator():
            loss, grads = step(x, y)
            optimizer(grads)


main()
"""

CONFIG: dict[str, Any] = {"model": {"width": 16, "dropout": 0.1, "stages": [1, 2]}, "optim": {"momentum": 0.9}}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Parity:
    parity = Parity(tmp_path_factory.mktemp("settings"))
    parity.write("ref.py", REFERENCE)
    parity.write("ms.py", CANDIDATE)
    parity.write("config.json", json.dumps(CONFIG))
    return parity


def compare(scripts: Parity, config: dict[str, Any], *words: str | Path) -> Done:
    scripts.write("config_ms.json", json.dumps(config))
    return scripts("compare", "ref.py", "ms.py", *words)


def test_a_faithful_pair_lists_everything(scripts: Parity) -> None:
    done = compare(scripts, {**CONFIG, "platform": "cpu"}, "--all", "--keep", "kept")
    assert (done.code, "Warnings" in done.out) == (0, False), done.out
    for line in (
        "= out_features / out_channels: 16 (given at ref.py:24 as config['model']['width'], from config.json) | 16",
        "= bias / has_bias: True (PyTorch's default) | True (MindSpore's default)",
        "= lr, step by step: [0.05, 0.05, 0.05] (given at ref.py:48 as args.lr, a command-line option at its default)",
        "= batch_size: 6 (given at ref.py:47 as args.batch_size, a command-line option at its default) | 6",
        "= drop_last: False (PyTorch's default) | False (MindSpore's default)",
        "= steps per epoch: 6 (counted",
        "= epochs: 4 (at ref.py:49) | 4 (at ms.py:46)",
        "= backward passes of one update: 1",
        "! data_dir: 'torch_data' (the option's default) | 'ms_data' (the option's default)",
        "= model.stages: [1, 2] (from config.json)",
        "? platform: none | 'cpu' (from json)",
    ):
        assert line in done.out
    again = scripts("report", "kept", "--all")
    assert again.out.partition("Declared")[2] == done.out.partition("Declared")[2]
    assert "Declared" not in scripts("report", "kept").out


def test_settings_that_differ(scripts: Parity) -> None:
    model = {**CONFIG["model"], "stages": [1, 2, 3], "heads": 4}
    config = {"model": model, "optim": {"momentum": 0.8}}
    done = compare(scripts, config, "--format", "json", "--candidate-args", "--batch-size 4 --epochs 5 --lr 0.01")
    document = done.document
    found = {(f["kind"], f["severity"]): f for f in document["findings"] if f["status"] != "propagated"}
    assert list(found) == [
        ("batch-size", "fault"), ("epochs", "warning"), ("setting", "warning"), ("learning-rate", "fault"),
        ("momentum", "fault"),
    ]  # fmt: skip
    size = found["batch-size", "fault"]
    assert size["stage"] == "hyperparameters"
    assert [(size[s]["path"], size[s]["line"], size[s]["value"]) for s in ("reference", "candidate")] == [
        ("loader", 47, 6), ("loader", 42, 4),
    ]  # fmt: skip
    assert size["fix"] == "ds.NumpySlicesDataset({'x': x, 'y': y}, shuffle=False).batch(batch_size=6)"
    assert size["cause"]["evidence"] == "args.batch_size: 4 != 6"
    assert "args.lr: 0.01 != 0.05" in found["learning-rate", "fault"]["cause"]["evidence"]
    setting = found["setting", "warning"]
    assert setting["message"] == "config['model']['stages']: [1, 2, 3] != [1, 2]"
    assert [found["epochs", "warning"][s]["value"] for s in ("reference", "candidate")] == [4, 5]
    assert document["stages"]["data"]["status"] == "match"
