"""What several tests need: the command line as a process of its own, and small scripts to run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

TRAINS = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range({steps}):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(torch.randn(5, 4)), torch.tensor([0, 1, 0, 1, 1]))
    loss.backward()
    optimizer.step()
    {after}
"""
"""A training script with holes for the number of steps and for what follows each of them."""


class Done(NamedTuple):
    """How a call of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


class Parity:
    """The command line, run in a folder of its own with a cache of its own.

    Args:
        folder: Where it runs, and where `write` puts scripts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def command(self, *words: str | Path) -> list[str]:
        """The words that run it."""
        return [sys.executable, "-m", "parity", *map(str, words)]

    def start(self, *words: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Runs it without waiting for its end."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            encoding="utf-8",
            errors="replace",
            preexec_fn=_hear_interrupts,
            **pipes,
        )

    def __call__(self, *words: str | Path) -> Done:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=600)
        return Done(process.returncode, out, err)


def _hear_interrupts() -> None:
    """A shell starts what runs in its background with SIGINT ignored, `nohup` SIGHUP, and that is inherited."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def parity(tmp_path: Path) -> Parity:
    return Parity(tmp_path)
