"""After the run a loader is read alone: all of it, or as much as it gives, and what it gave is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from parity.capture.frameworks.torch import TorchAdapter
from parity.capture.survey import survey
from parity.model import EpochEvent, LoadedEvent, Meta
from parity.samples import DIGITS
from parity.trace import Trace, TraceWriter

X = torch.arange(44.0).reshape(22, 2)
Y = torch.arange(22) % 3


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield torch.ones(2)


class Broken(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        yield from torch.ones(5, 2)
        raise OSError("the disk is gone")


class Waiting(IterableDataset):
    def __init__(self, release: threading.Event) -> None:
        self.release = release

    def __iter__(self) -> Iterator[Any]:
        yield torch.ones(2)
        self.release.wait()
        yield torch.ones(2)


def read(tmp_path: Path, *loaders: Any, limit: int = 50, seconds: float = 30.0) -> Trace:
    writer = TraceWriter(tmp_path / "one.trace")
    survey(writer, TorchAdapter(), list(loaders), limit, seconds)
    writer.meta(Meta(complete=True))
    writer.finish()
    return Trace(tmp_path / "one.trace")


def test_an_epoch(tmp_path: Path) -> None:
    trace = read(tmp_path, DataLoader(TensorDataset(X, Y), batch_size=8))
    (epoch,) = trace.of(EpochEvent)
    assert (epoch.batches, epoch.samples, epoch.complete, epoch.why) == (3, 22, True, None)
    last = trace.of(LoadedEvent)[-1]
    assert [column.shape for column in last.columns] == [(6, 2), (6,)]
    assert last.columns[0].ref is not None
    assert np.array_equal(trace.array(last.columns[0].ref), X[16:].numpy())
    assert len(last.columns[0].digests) == 6 * DIGITS


def test_statistics(tmp_path: Path) -> None:
    trace = read(tmp_path, DataLoader(TensorDataset(X, Y), batch_size=8))
    x, y = trace.of(EpochEvent)[0].columns
    assert (x.minimum, x.maximum, x.nonfinite, x.values) == (0, 43, 0, 44)
    assert np.allclose(x.means["-1"], X.mean(0))
    assert np.allclose(x.deviations["1"], X.std(0, correction=0))
    assert y.classes == {"0": 8, "1": 7, "2": 7}


def test_missing_values_are_counted(tmp_path: Path) -> None:
    x = X.clone()
    x[3, 1] = float("nan")
    trace = read(tmp_path, DataLoader(TensorDataset(x), batch_size=8))
    assert trace.of(EpochEvent)[0].columns[0].nonfinite == 1


def test_the_limit(tmp_path: Path) -> None:
    (epoch,) = read(tmp_path, DataLoader(Endless(), batch_size=4), limit=6).of(EpochEvent)
    assert (epoch.batches, epoch.complete) == (6, False)
    assert "6 batches" in epoch.why


def test_a_loader_that_fails_keeps_what_it_gave(tmp_path: Path) -> None:
    (epoch,) = read(tmp_path, DataLoader(Broken(), batch_size=2)).of(EpochEvent)
    assert (epoch.batches, epoch.complete) == (2, False)
    assert "OSError: the disk is gone" in epoch.why


def test_a_loader_that_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.capture.survey.PATIENCE", 0.2)
    release = threading.Event()
    start = time.monotonic()
    loaders = [DataLoader(Waiting(release), batch_size=1), DataLoader(TensorDataset(X), batch_size=8)]
    try:
        first, second = read(tmp_path, *loaders, seconds=1.0).of(EpochEvent)
    finally:
        release.set()
    assert time.monotonic() - start < 10
    assert (first.batches, first.complete) == (1, False)
    assert "1 seconds" in first.why
    assert second.loader == 1


def test_workers(tmp_path: Path) -> None:
    (epoch,) = read(tmp_path, DataLoader(TensorDataset(X, Y), batch_size=8, num_workers=2)).of(EpochEvent)
    assert (epoch.batches, epoch.complete) == (3, True)


def test_whole_batches_are_kept_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.capture.survey.KEPT_BYTES", 100)
    batches = read(tmp_path, DataLoader(TensorDataset(X), batch_size=8)).of(LoadedEvent)
    assert [batch.columns[0].ref is not None for batch in batches] == [True, False, False]
    assert all(batch.columns[0].digests for batch in batches)
