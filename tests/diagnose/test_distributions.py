"""Tests of distributions, against draws whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parity.diagnose.initial.distributions import difference, holm, kind, ks_p, mean_p, sample_of, seen, variance_p
from parity.sample import spread

N = 32768


def draws(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


def test_ks_of_known_values() -> None:
    distance, p = ks_p(np.arange(100.0), np.arange(100.0) + 30)
    assert distance == pytest.approx(0.3)
    assert p == pytest.approx(1.6e-4, rel=0.2)
    assert ks_p(np.arange(10.0), np.arange(10.0))[1] == 1.0


def test_variance_of_normal_samples_follows_f() -> None:
    a, b = sample_of(draws(0).randn(N)), sample_of(1.05 * draws(1).randn(N))
    z = math.log(b.std / a.std) / math.sqrt(1 / N)
    assert variance_p(a, b) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.5)
    assert variance_p(a, a) == pytest.approx(1.0)


def test_mean_of_normal_samples_follows_t() -> None:
    a = sample_of(np.array([-0.9, 0.1, 1.1, 0.6, -0.4]))
    b = sample_of(np.array([1.0, 2.0, 3.0, 2.5, 1.5]))
    assert mean_p(a, b) == pytest.approx(0.0052, rel=0.1)


@pytest.mark.parametrize("draw", ["randn", "rand", "standard_exponential", "standard_cauchy"])
@pytest.mark.parametrize("size", [2, 8, 40, 600, N])
def test_equal_distributions_agree(draw: str, size: int) -> None:
    for seed in range(40 if size < N else 6):
        make = getattr(draws(seed), draw)
        result = difference(sample_of(make(size)), sample_of(make(size)))
        assert result.p > 1e-6 or not result.what, (seed, result)


@pytest.mark.parametrize(
    ("mine", "theirs", "what"),
    [
        (lambda r: r.randn(N), lambda r: 0.01 * r.randn(N), "scale"),
        (lambda r: r.randn(N), lambda r: 1.08 * r.randn(N), "scale"),
        (lambda r: r.uniform(-1, 1, N), lambda r: r.uniform(-1.08, 1.08, N), "scale"),
        (lambda r: r.randn(N), lambda r: r.randn(N) + 0.1, "mean"),
        (lambda r: r.uniform(-1, 1, N), lambda r: r.randn(N) / math.sqrt(3), "shape"),
        (lambda r: r.randn(N) * (r.rand(N) > 0.1), lambda r: r.randn(N), "zeros"),
        (lambda r: r.randn(40), lambda r: 0.01 * r.randn(40), "scale"),
    ],
)
def test_differences_that_matter(mine: object, theirs: object, what: str) -> None:
    result = difference(sample_of(mine(draws(0))), sample_of(theirs(draws(1))))  # type: ignore[operator]
    assert result.what == what
    assert result.p < 1e-8


def test_differences_that_do_not_matter() -> None:
    result = difference(sample_of(draws(0).randn(2**20)), sample_of(1.03 * draws(1).randn(2**20)))
    assert result.p < 1e-6
    assert result.what == ""


@pytest.mark.parametrize(
    ("values", "name", "numbers"),
    [
        (draws(0).randn(N) * 0.02, "normal", (0, 0.02)),
        (draws(0).uniform(-0.1, 0.1, N), "uniform", (-0.1, 0.1)),
        (draws(0).uniform(0, 1, N), "uniform", (0, 1)),
        ((lambda x: x[np.abs(x) < 2] * 0.5)(draws(0).randn(N)), "truncated", (0, 0.5, 2)),
        (draws(0).standard_exponential(N), "", ()),
        (draws(0).randn(50), "", ()),
    ],
)
def test_kinds(values: np.ndarray, name: str, numbers: tuple[float, ...]) -> None:
    found = kind(sample_of(values))
    assert found[0] == name
    assert found[1] == pytest.approx(numbers, rel=0.02, abs=1e-3)


def test_holm_stops_at_the_first_that_stands() -> None:
    assert holm([0.5, 1e-9, 4e-7, 2e-8], 1e-6) == [False, True, True, True]
    assert holm([6e-7, 6e-7], 1e-6) == [False, False]


def test_how_much_would_have_been_seen() -> None:
    few, many = sample_of(draws(0).randn(50)), sample_of(draws(0).randn(N))
    assert seen(few, few, 1e-8) > 0.5
    assert seen(many, many, 1e-8) < 0.06


@pytest.mark.parametrize(("size", "count"), [(10, 20), (10, 10), (1000, 7), (2**25, 4096)])
def test_spread_covers_all_parts(size: int, count: int) -> None:
    chosen = spread(size, count)
    assert len(chosen) == min(size, count)
    assert np.all(np.diff(chosen) > 0)
    width = size / len(chosen)
    assert np.all(np.abs(chosen - (np.arange(len(chosen)) + 0.5) * width) <= width / 2 + 1)
    np.testing.assert_array_equal(chosen, spread(size, count))
