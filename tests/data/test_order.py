"""Samples are found again by their sketches, and orders get names."""

from __future__ import annotations

import numpy as np
import pytest

from parity.data.distribution import differ, histogram
from parity.data.order import match_samples, name_order
from parity.samples import digests, sketch

SAMPLES = np.random.default_rng(3).standard_normal((60, 4, 5)).astype(np.float32)


def test_a_shuffle_is_undone() -> None:
    order = np.random.default_rng(4).permutation(60)
    match = match_samples(sketch(SAMPLES), sketch(SAMPLES[order] * np.float32(1 + 1e-7)))
    assert match.places.tolist() == order.tolist()
    assert match.fraction == 1


def test_a_repeated_sample_is_taken_once() -> None:
    match = match_samples(sketch(SAMPLES[:3]), sketch(SAMPLES[[0, 0, 2]]))
    assert match.places.tolist() == [0, -1, 2]


def test_other_samples_are_not_found() -> None:
    other = np.random.default_rng(5).standard_normal((60, 4, 5))
    assert match_samples(sketch(SAMPLES), sketch(other)).fraction == 0


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (range(20), ""),
        (range(19, -1, -1), "opposite"),
        ([*range(5, 20), *range(5)], "begun 5 samples later"),
        ([*range(0, 20, 2), *range(1, 20, 2)], "every 2th"),
        (range(3, 20), "3 samples later"),
    ],
)
def test_orders_have_names(order: object, words: str) -> None:
    name = name_order(np.array(list(order)))  # type: ignore[call-overload]
    assert name is not None
    assert words in name
    assert bool(name) == bool(words)


def test_chance_has_no_name() -> None:
    assert name_order(np.random.default_rng(1).permutation(40)) is None


def test_digests_tell_samples_apart() -> None:
    text = digests(SAMPLES)
    parts = {text[i : i + 16] for i in range(0, len(text), 16)}
    assert len(parts) == 60


@pytest.mark.parametrize("seed", range(20))
def test_the_same_distribution_is_no_difference(seed: int) -> None:
    one, other = (np.random.default_rng([seed, i]) for i in range(2))
    assert differ(one.standard_normal((48, 3, 8, 8)), other.standard_normal((48, 3, 8, 8))) is None
    assert differ(one.standard_normal((96, 10)), other.standard_normal((96, 10))) is None
    assert differ(one.standard_normal(96), other.standard_normal(96)) is None


def test_another_distribution_is_one() -> None:
    rng = np.random.default_rng(0)
    text = differ(rng.standard_normal((48, 3, 8, 8)), rng.random((48, 3, 8, 8)))
    assert text is not None
    assert "mean" in text


def test_class_counts() -> None:
    assert histogram({0: 100, 1: 100}, {0: 110, 1: 90}) is None
    text = histogram({0: 100, 1: 100}, {0: 180, 1: 20})
    assert text is not None
    assert "class 0 makes 90%" in text
