"""Metric objects of both sides, held against each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity.diagnose.metric_values import metric_values
from parity.model import CallEvent, Meta, MetricEvent
from parity.trace import Trace, TraceWriter

Side = Callable[..., Trace]
LOGITS = np.random.RandomState(0).randn(40, 3).astype(np.float32)
LABELS = np.random.RandomState(1).randint(0, 3, 40)


@pytest.fixture
def side(tmp_path: Path) -> Side:
    """A trace with the answer of one metric object."""

    def write(kind: str, value: object, inputs: tuple[np.ndarray, ...] = (LOGITS, LABELS), step: int = 1) -> Trace:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.trace"
        writer = TraceWriter(path)
        for number in range(2):
            writer.event(CallEvent(number, number, "train", "", 0, 0))
        given = [writer.put(array) for array in inputs]
        values = {"": writer.put(np.asarray(value, np.float64))}
        writer.event(MetricEvent(step, "metric", kind, True, {}, given, values, "s.py", 5))
        writer.meta(Meta(complete=True, steps=2))
        writer.finish()
        return Trace(path)

    return write


def test_equal_values_agree(side: Side) -> None:
    moved = LOGITS * np.float32(1 + 1e-6), LABELS
    assert metric_values(side("MulticlassAccuracy", 0.55), side("Accuracy", 0.55, moved)) == ([], 1)


def test_another_value_for_the_same_inputs_is_a_fault(side: Side) -> None:
    ((finding,), compared) = metric_values(side("F1Score", [0.5, 0.4, 0.3]), side("F1", [0.5, 0.4, 0.2]))
    assert (finding.kind, finding.stage, finding.severity, compared) == ("metric-value", "metrics", "fault", 1)
    assert finding.candidate is not None and finding.candidate.value == [0.5, 0.4, 0.2]


def test_a_round_multiple_may_be_made_good_by_the_script(side: Side) -> None:
    ((finding,), _) = metric_values(side("Accuracy", 55.0), side("Accuracy", 0.55))
    assert finding.severity == "warning"


def test_one_value_for_each_class_and_their_mean_agree(side: Side) -> None:
    assert metric_values(side("F1Score", 0.4), side("F1", [0.5, 0.4, 0.3])) == ([], 1)


def test_other_inputs_leave_a_note(side: Side) -> None:
    ((finding,), _) = metric_values(side("Accuracy", 0.5), side("Accuracy", 0.4, (LOGITS[::-1].copy(), LABELS)))
    assert finding.severity == "note"


def test_samples_that_rounding_decides_may_go_either_way(side: Side) -> None:
    tied = LOGITS.copy()
    tied[0, 1] = tied[0, 0] = 9.0
    moved = tied.copy()
    moved[0, 1] += 1e-5
    assert metric_values(side("Accuracy", 0.5, (tied, LABELS)), side("Accuracy", 0.525, (moved, LABELS))) == ([], 1)


def test_what_measures_something_else_is_not_compared(side: Side) -> None:
    assert metric_values(side("Recall", 0.5), side("Precision", 0.4)) == ([], 0)
    assert metric_values(side("Recall", 0.5, step=0), side("Recall", 0.4, step=1)) == ([], 0)


def test_inputs_that_are_not_known_tell_nothing(side: Side) -> None:
    assert metric_values(side("Accuracy", 0.5, ()), side("Accuracy", 0.4, ())) == ([], 1)
