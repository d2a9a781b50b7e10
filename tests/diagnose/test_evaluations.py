"""In which mode both sides evaluate their model between training steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from parity.diagnose.evaluations import evaluated
from parity.diagnose.stage import HINT, Claim
from parity.model import CallEvent, EvaluationEvent, LayerInfo, Layers, Meta
from parity.trace import Trace, TraceWriter

Side = Callable[..., Trace]


@pytest.fixture
def side(tmp_path: Path) -> Side:
    """A model of two layers, with events."""

    def write(*events: EvaluationEvent | CallEvent, inner: str = "Dropout", modes: object = None) -> Trace:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.trace"
        writer = TraceWriter(path)
        root = LayerInfo(0, "", "Net", "s.py", 3, {}, [], False, ["drop"], True)
        writer.layers(Layers([root, LayerInfo(1, "drop", inner, "s.py", 4, {}, [], True)]))
        for event in (*events, CallEvent(98, 0, "train", "drop", 1, 0), CallEvent(99, 1, "train", "drop", 1, 0)):
            writer.event(event)
        writer.meta(Meta(complete=True, steps=2, environment={"modes": modes}))
        writer.finish()
        return Trace(path)

    return write


def passes(training: bool, step: int = 1, calls: int = 2) -> EvaluationEvent:
    return EvaluationEvent(step, "", training, calls, "s.py", 9)


def call(training: bool, number: int) -> CallEvent:
    return CallEvent(number, 1, "train", "", 0, number, training=training)


def test_train_mode_on_the_candidates_side_alone_is_a_fault(side: Side) -> None:
    ((finding, claim),) = evaluated(side(passes(False)), side(passes(True)))
    assert (finding.kind, finding.severity, finding.step) == ("train-mode", "fault", 1)
    assert (finding.reference.value, finding.candidate.value) == ("eval", "train")  # type: ignore[union-attr]
    assert finding.fix == "model.set_train(False)"
    assert claim.candidate == {"drop"}


def test_equal_modes_are_none(side: Side) -> None:
    assert not evaluated(side(passes(False)), side(passes(False)))
    assert not evaluated(side(passes(True)), side(passes(True)))


def test_both_modes_on_one_side_tell_nothing(side: Side) -> None:
    assert not evaluated(side(passes(False)), side(passes(True), passes(False)))
    assert not evaluated(side(passes(False), passes(True)), side(passes(True)))


def test_other_moments_are_not_held_against_each_other(side: Side) -> None:
    assert not evaluated(side(passes(False, 1)), side(passes(True, 2)))


def test_a_model_without_modes_may_be_in_either(side: Side) -> None:
    assert not evaluated(side(passes(False), inner="Linear"), side(passes(True), inner="Dense"))


@pytest.mark.parametrize("events", [(passes(True, 1, 3),), (passes(True, 0, 1),)])
def test_what_may_be_something_else_is_a_warning(side: Side, events: tuple[EvaluationEvent, ...]) -> None:
    step = events[0].step
    ((finding, _),) = evaluated(side(passes(False, step, 2 if step else 1)), side(*events))
    assert finding.severity == "warning"


def test_cells_that_were_never_set_to_train_mode_are_only_a_hint(side: Side) -> None:
    ((finding, _),) = evaluated(side(passes(True, 0)), side(passes(False, 0)))
    assert (finding.kind, finding.severity) == ("eval-mode", HINT)


def test_a_reference_that_keeps_gradients_while_it_evaluates(side: Side) -> None:
    reference = side(call(False, 0), call(True, 1))
    ((finding, _),) = evaluated(reference, side(passes(True, 1, 1), call(True, 0)))
    assert (finding.kind, finding.severity) == ("train-mode", "fault")
    assert not evaluated(reference, side(passes(False, 1, 1), call(True, 0)))


def test_a_candidate_that_never_leaves_train_mode_is_a_warning(side: Side) -> None:
    both = {"train": ("s.py", 3), "eval": ("s.py", 8)}
    reference, candidate = side(modes=both), side(modes={"train": ("s.py", 4)})
    ((finding, claim),) = evaluated(reference, candidate)
    assert (finding.kind, finding.severity, finding.status) == ("train-mode", "warning", None)
    assert finding.reference is not None and finding.candidate is not None
    assert (finding.reference.line, finding.candidate.line) == (8, 4)
    assert claim == Claim()
    assert not evaluated(reference, side(modes=both))
    assert not evaluated(candidate, candidate)
    assert not evaluated(reference, side(modes={}))
    assert not evaluated(reference, side(modes={"train": ("s.py", 4)}, inner="Dense"))
