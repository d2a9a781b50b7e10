"""The assignment problem against every permutation there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.align.assignment import assign


def best_total(cost: np.ndarray) -> float:
    """The smallest total of all ways to pair every row of the shorter side."""
    if cost.shape[0] > cost.shape[1]:
        cost = cost.T
    rows, columns = cost.shape
    return min(sum(cost[i, c] for i, c in enumerate(chosen)) for chosen in itertools.permutations(range(columns), rows))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000), st.booleans())
def test_total_is_the_smallest(rows: int, columns: int, seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    cost = generator.normal(size=(rows, columns))
    if ties:
        cost = np.round(cost)
    pairs = assign(cost)
    assert len(pairs) == min(rows, columns)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert pairs == sorted(pairs)
    assert sum(cost[r, c] for r, c in pairs) == pytest.approx(best_total(cost), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_square_of_seven(seed: int) -> None:
    cost = np.random.default_rng(seed).uniform(0, 10, (7, 7))
    assert sum(cost[r, c] for r, c in assign(cost)) == pytest.approx(best_total(cost))


def test_recovers_a_hidden_permutation() -> None:
    order = np.random.default_rng(0).permutation(60)
    cost = 1.0 - np.eye(60)[order]
    assert assign(cost) == [(row, int(column)) for row, column in enumerate(order)]


def test_equal_costs_pair_in_order() -> None:
    cost = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    assert assign(cost) == [(i, i) for i in range(6)]


def test_the_greedy_choice_is_not_taken() -> None:
    assert assign(np.array([[1.0, 2.0], [2.0, 100.0]])) == [(0, 1), (1, 0)]


def test_negative_costs() -> None:
    assert assign(np.array([[-1.0, -5.0], [-4.0, -9.0]])) == [(0, 0), (1, 1)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair(shape: tuple[int, int]) -> None:
    assert assign(np.zeros(shape)) == []
