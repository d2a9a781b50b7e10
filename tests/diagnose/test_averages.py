"""The decay of averages of weights, from their values alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity.diagnose.optimization.averages import averages
from parity.model import Meta, ShadowEvent
from parity.trace import Trace, TraceWriter

Side = Callable[..., Trace]


@pytest.fixture
def side(tmp_path: Path) -> Side:
    """Weights that move in three steps, and a copy that goes after them as `decays` say."""

    def write(*decays: float, start: int = 1, noise: float = 0.0, names: tuple[str, ...] = ("ema",)) -> Trace:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.trace"
        writer = TraceWriter(path)
        rng = np.random.RandomState(0)
        weights = rng.randn(500).astype(np.float32)
        copy = weights if start else np.random.RandomState(1).randn(500).astype(np.float32)
        for step, decay in enumerate((None, *decays)):
            if decay is not None:
                weights = weights - np.float32(0.01) * rng.randn(500).astype(np.float32)
                copy = (decay * copy + (1 - decay) * weights + noise * rng.randn(500)).astype(np.float32)
            for name in names:
                refs = [writer.put(array.astype(np.float64)) for array in (copy, weights)]
                writer.event(ShadowEvent(step, name, "EMA", *refs, "s.py", 7))
        writer.meta(Meta(complete=True, steps=2))
        writer.finish()
        return Trace(path)

    return write


@pytest.mark.parametrize(("mine", "theirs"), [(0.99, 0.9), (0.999, 0.99), (0.5, 0.51)])
def test_another_decay_is_a_fault(side: Side, mine: float, theirs: float) -> None:
    (finding,) = averages(side(mine, mine), side(theirs, theirs, start=0))
    assert (finding.kind, finding.stage, finding.severity, finding.step) == ("ema-decay", "optimizer", "fault", 0)
    assert finding.reference is not None and finding.candidate is not None
    assert finding.reference.value == pytest.approx(mine, abs=1e-4)
    assert finding.candidate.value == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("decay", [0.5, 0.99, 0.999])
def test_the_same_decay_is_none(side: Side, decay: float) -> None:
    assert not averages(side(decay, decay), side(decay, decay, start=0))


def test_rounding_is_no_decay(side: Side) -> None:
    """Near 1, a copy that starts at the weights moves by less than can be told."""
    assert not averages(side(0.9999999, 0.9999999), side(0.9999998, 0.9999998))


def test_a_warming_decay_is_compared_step_by_step(side: Side) -> None:
    (finding,) = averages(side(0.5, 0.6), side(0.5, 0.9))
    assert finding.step == 1


def test_a_first_copy_is_soon_forgotten(side: Side) -> None:
    assert not averages(side(0.0, 0.99), side(0.99, 0.99))


def test_what_does_not_follow_the_weights_is_no_average(side: Side) -> None:
    assert not averages(side(0.99, 0.99), side(0.9, 0.9, noise=0.1))


def test_one_copy_under_two_names_is_one(side: Side) -> None:
    assert averages(side(0.99, 0.99, names=("ema", "ema.module")), side(0.9, 0.9))


def test_an_average_of_one_side_alone_is_a_warning(side: Side) -> None:
    """Nothing tells that anything is computed with it."""
    (finding,) = averages(side(0.9, 0.9), side(names=()))
    assert (finding.kind, finding.severity, finding.status) == ("ema-missing", "warning", None)
    assert finding.reference is not None and (finding.reference.path, finding.reference.line) == ("ema", 7)
    (finding,) = averages(side(0.9, 0.9), side(1.0, 1.0))
    assert (finding.kind, finding.severity) == ("ema-missing", "warning")
    (finding,) = averages(side(names=()), side(0.9, 0.9))
    assert (finding.kind, finding.severity) == ("ema-extra", "warning")
    assert finding.candidate is not None and finding.candidate.path == "ema"
