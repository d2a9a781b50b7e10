"""Backward passes that are paired before the optimizer call that uses them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from parity.align.passes import Part, parts
from parity.model import LossEvent, OptimizerEvent, TensorRef

REF = TensorRef("", (), "float32")


def trace(*groups: int) -> Any:
    """Something with the events of one step: so many backward passes before each optimizer call."""
    events: list[Any] = []
    number = 0
    for index, size in enumerate(groups):
        for _ in range(size):
            events.append(LossEvent(0, number, 1, REF))
            number += 1
        events.append(OptimizerEvent(0, index, "optimizer", "SGD", [], {}, {}, {}, {}))
    return SimpleNamespace(events=events)


def test_two_losses_of_the_reference_are_one_of_the_candidate() -> None:
    found = parts(trace(2, 1), trace(1, 1), {0})
    assert found == {
        (0, 0): Part((0, 1), (0,), 0, False),
        (0, 1): Part((0, 1), (0,), 0, True),
        (0, 2): Part((2,), (1,), 1, True),
    }
    assert [part.merged for part in found.values()] == [True, True, False]


def test_several_optimizers_use_the_same_passes() -> None:
    assert [part.merged for part in parts(trace(2, 0), trace(1, 0), {0}).values()] == [True, True]


def test_one_loss_of_the_reference_is_two_of_the_candidate() -> None:
    assert parts(trace(1), trace(2), {0}) == {(0, 0): Part((0,), (0, 1), 1, True)}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [((1, 1), (1, 1)), ((2,), (2,)), ((1, 1), (2, 0)), ((2, 1), (3,))],
    ids=["alike", "accumulated", "both gradients first", "another number of updates"],
)
def test_passes_that_pair_by_their_number(mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    assert parts(trace(*mine), trace(*theirs), {0}) == {}


def test_another_number_of_batches_is_not_another_sum() -> None:
    assert parts(trace(4), trace(2), set()) == {}
