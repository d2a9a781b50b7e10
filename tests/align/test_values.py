"""Tensors as values: how far apart they are, how one lies as the other does, and the search by value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parity.align.values import SKETCH, Index, Sketch, distance, lay, layout, quick_gap, rms

NAN, INF = float("nan"), float("inf")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """float64 of the given shape."""
    return np.random.default_rng(seed).normal(size=shape)


class TestDistance:
    def test_is_relative_to_the_second(self) -> None:
        assert distance(np.array([2.0, 2.0]), np.array([1.0, 1.0])) == 1.0
        assert distance(np.array([1.0, 1.0]), np.array([2.0, 2.0])) == 0.5

    def test_is_the_root_of_the_mean_square(self) -> None:
        assert distance(np.array([4.0, 4.0]), np.array([1.0, 7.0])) == pytest.approx(3.0 / 5.0)

    def test_is_absolute_where_the_second_is_zero(self) -> None:
        assert distance(np.array([3.0, -3.0]), np.zeros(2)) == 3.0
        assert distance(np.zeros(2), np.zeros(2)) == 0.0

    def test_shapes_must_agree(self) -> None:
        assert distance(np.ones((2, 3)), np.ones((3, 2))) == INF

    def test_empty_tensors_are_equal(self) -> None:
        assert distance(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            ([NAN, 2.0], [NAN, 2.0], 0.0),
            ([INF, 2.0], [INF, 2.0], 0.0),
            ([-INF, 2.0], [-INF, 2.0], 0.0),
            ([NAN, 2.0], [2.0, NAN], INF),
            ([NAN, 2.0], [1.0, 2.0], INF),
            ([1.0, 2.0], [NAN, 2.0], INF),
            ([INF, 2.0], [-INF, 2.0], INF),
            ([INF, 2.0], [NAN, 2.0], INF),
            ([INF, 2.0], [1.0, 2.0], INF),
        ],
    )
    def test_places_of_nan_and_inf_come_first(self, a: list[float], b: list[float], expected: float) -> None:
        assert distance(np.array(a), np.array(b)) == expected

    def test_what_is_finite_beside_a_nan_is_measured(self) -> None:
        # The NaN counts as an equal element: the error is spread over both, the scale is that of the finite ones.
        assert distance(np.array([NAN, 3.0]), np.array([NAN, 2.0])) == pytest.approx(math.sqrt(0.5) / 2.0)

    @given(st.floats(1e-6, 1e3), st.integers(0, 1000))
    def test_scaling_both_changes_nothing(self, factor: float, seed: int) -> None:
        a, b = normal(12, seed=seed), normal(12, seed=seed + 1)
        assert distance(factor * a, factor * b) == pytest.approx(distance(a, b), rel=1e-9)

    @pytest.mark.parametrize("share", [0.25, 0.75])
    def test_a_mask_hides_nothing(self, share: float) -> None:
        scores = normal(400, seed=3)
        masked = np.arange(400) < 400 * share
        other = np.where(masked, -1e9, scores * 0.5)
        assert distance(other, np.where(masked, -1e9, scores)) == pytest.approx(0.5, rel=1e-6)
        assert distance(scores, np.where(masked, -1e9, scores)) > 0.1

    def test_half_precision_is_measured_in_double(self) -> None:
        big = np.full(4, 60000, np.float16)
        assert rms(big) == 60000.0 - 60000.0 % 32
        assert distance(big, big) == 0.0


class TestLayout:
    def test_same(self) -> None:
        x = normal(3, 4)
        assert layout(x * (1 + 1e-6), x) == ("same", ())

    def test_view(self) -> None:
        x = normal(2, 3, 4)
        how = layout(x.reshape(6, 4), x)
        assert how == ("view", (2, 3, 4))
        assert np.array_equal(lay(x.reshape(6, 4), how), x)

    def test_channels_last(self) -> None:
        x = normal(2, 3, 4, 5)
        how = layout(x.transpose(0, 2, 3, 1), x)
        assert how is not None and how[0] == "permute"
        assert how[1][:4] == (0, 3, 1, 2)
        assert np.array_equal(lay(x.transpose(0, 2, 3, 1), how), x)

    def test_permutation_and_view(self) -> None:
        x = normal(6, 4)
        other = x.reshape(2, 3, 4).transpose(1, 0, 2)
        how = layout(other, x)
        assert how is not None and how[0] == "permute"
        assert np.array_equal(lay(other, how), x)

    def test_square_transposition_is_told_by_values(self) -> None:
        x = normal(5, 5)
        assert layout(x.T, x) == ("permute", (1, 0, -1, 5, 5))

    def test_other_values_of_one_shape_are_left_as_they_lie(self) -> None:
        assert layout(normal(3, 4, seed=1), normal(3, 4, seed=2)) == ("same", ())

    def test_spread(self) -> None:
        x = normal(2, 1, 3)
        repeated = np.repeat(x, 4, axis=1)
        assert layout(repeated, x) == ("spread", (1,))
        assert np.array_equal(lay(repeated, ("spread", (1,))), x)

    def test_what_is_no_repetition_is_no_spread(self) -> None:
        assert layout(normal(2, 4, 3), normal(2, 1, 3)) is None

    @pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((2, 3), (3,)), ((2, 3), (2, 1, 4))])
    def test_other_sizes_do_not_fit(self, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        assert layout(normal(*shapes[0]), normal(*shapes[1])) is None

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_recovers_any_permutation_of_axes(self, data: st.DataObject) -> None:
        shape = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
        axes = data.draw(st.permutations(range(len(shape))))
        x = normal(*shape, seed=data.draw(st.integers(0, 999)))
        assume(x.size > 1)
        moved = np.ascontiguousarray(x.transpose(axes))
        noisy = moved * (1 + 1e-7 * normal(*moved.shape, seed=7))
        how = layout(noisy, x)
        assert how is not None
        assert distance(lay(noisy, how), x) < 1e-6

    @settings(max_examples=30, deadline=None)
    @given(st.permutations(range(3)), st.integers(0, 99))
    def test_a_layout_found_on_one_tensor_holds_for_another(self, axes: list[int], seed: int) -> None:
        x, gradient = normal(2, 3, 4, seed=seed), normal(2, 3, 4, seed=seed + 100)
        how = layout(x.transpose(axes), x)
        assert how is not None
        assert np.array_equal(lay(gradient.transpose(axes), how, gradient=True), gradient)


class TestLay:
    def test_a_gradient_at_copies_is_their_sum(self) -> None:
        gradient = np.arange(6.0).reshape(1, 3, 2)
        assert np.array_equal(lay(gradient, ("spread", (1,)), gradient=True), [[[6.0, 9.0]]])
        assert np.array_equal(lay(gradient, ("spread", (1,))), [[[0.0, 1.0]]])

    def test_over_two_axes(self) -> None:
        gradient = np.ones((2, 3, 4))
        assert np.array_equal(lay(gradient, ("spread", (0, 2)), gradient=True), np.full((1, 3, 1), 8.0))

    def test_same_is_the_tensor_itself(self) -> None:
        x = normal(3)
        assert lay(x, ("same", ())) is x

    def test_other_axes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="axes"):
            lay(normal(2, 3), ("permute", (1, 0, 2, -1, 3, 2, 1)))


class TestSearch:
    @pytest.mark.parametrize("size", [7, SKETCH, 5 * SKETCH + 3])
    def test_the_equal_one_among_near_ones(self, size: int) -> None:
        x = normal(size)
        index = Index()
        for key, factor in enumerate([1.01, 1 + 1e-4, 1.0, 1 + 1e-5, -1.0]):
            index.add(key, Sketch(x * factor))
        gap, key, moved = index.nearest(Sketch(x))[0]
        assert (gap, key, moved) == (0.0, 2, False)
        assert [k for _, k, _ in index.nearest(Sketch(x))][:4] == [2, 3, 1, 0]

    def test_estimates_the_distance(self) -> None:
        x = normal(4000)
        index = Index()
        index.add(0, Sketch(x * 1.01))
        assert index.nearest(Sketch(x))[0][0] == pytest.approx(0.01)

    def test_a_permuted_one_is_told(self) -> None:
        x = normal(30, 40)
        index = Index()
        index.add(0, Sketch(normal(1200, seed=5)))
        index.add(1, Sketch(np.ascontiguousarray(x.T)))
        gap, key, moved = index.nearest(Sketch(x))[0]
        assert (key, moved) == (1, True)
        assert gap < 1e-12

    def test_an_equal_one_is_not_called_permuted(self) -> None:
        x = normal(30, 40)
        index = Index()
        index.add(0, Sketch(x))
        index.add(1, Sketch(np.ascontiguousarray(x.T)))
        assert index.nearest(Sketch(x))[0] == (0.0, 0, False)

    def test_other_values_are_neither(self) -> None:
        index = Index()
        index.add(0, Sketch(normal(1200, seed=5)))
        assert all(gap > 1 and not moved for gap, _, moved in index.nearest(Sketch(normal(1200))))

    def test_the_shape_does_not_matter_the_size_does(self) -> None:
        x = normal(6, 4)
        index = Index()
        index.add(3, Sketch(x.reshape(2, 12)))
        assert index.nearest(Sketch(x))[0] == (0.0, 3, False)
        assert index.nearest(Sketch(x[:3])) == []

    def test_added_after_a_search(self) -> None:
        x = normal(16)
        index = Index()
        index.add(0, Sketch(2 * x))
        assert index.nearest(Sketch(x))[0][1] == 0
        index.add(1, Sketch(x))
        assert index.nearest(Sketch(x))[0][1] == 1

    def test_nan_is_far_from_everything(self) -> None:
        x = normal(16)
        broken = x.copy()
        broken[3] = NAN
        index = Index()
        index.add(0, Sketch(broken))
        assert index.nearest(Sketch(x))[0][0] == INF


class TestQuickGap:
    """The distance in one walk is the careful one's, or none."""

    @pytest.mark.parametrize("size", [1024, 65536, 200_001])
    @pytest.mark.parametrize("scale", [1e-6, 1.0, 10.0])
    def test_it_agrees_with_the_careful_one(self, size: int, scale: float) -> None:
        rng = np.random.default_rng(size)
        b = (scale * rng.standard_normal(size)).astype(np.float32)
        a = (b * (1 + 1e-3 * rng.standard_normal(size))).astype(np.float32)
        found = quick_gap(a, b)
        assert found is not None
        wide = a.astype(np.float64) - b
        assert found.error == pytest.approx(float(np.sqrt(np.mean(wide**2))), rel=1e-4)
        assert found.scale == pytest.approx(float(np.sqrt(np.mean(b.astype(np.float64) ** 2))), rel=1e-4)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9, -1e9])
    def test_what_needs_care(self, value: float) -> None:
        a = np.ones(5000, np.float32)
        for first, second in ((a, a.copy()), (a.copy(), a)):
            first[77] = value
            assert quick_gap(first, second) is None
            first[77] = 1

    def test_what_is_too_small_for_single_precision(self) -> None:
        a = np.full(5000, 1e-20, np.float32)
        assert quick_gap(a, a) is None
        assert quick_gap(a.astype(np.float64), a) is None
        assert quick_gap(np.ones((80, 80), np.float32).T[:, ::2], np.ones((80, 40), np.float32)) is None


class TestSentinels:
    def test_where_both_mask_which_number_it_is_does_not_matter(self) -> None:
        scores = normal(4, 5)
        mine, theirs = scores.copy(), scores.copy()
        mine[:, 3], theirs[:, 3] = -1e9, -1e30
        assert distance(mine, theirs) == 0.0

    def test_a_mask_on_one_side_is_a_difference(self) -> None:
        scores = normal(4, 5)
        mine, theirs = scores.copy(), scores.copy()
        mine[:, 3], theirs[:, 3] = -1e9, 0.0
        assert distance(mine, theirs) > 1
        assert distance(theirs, mine) > 0.9

    def test_the_search_tells_them_apart(self) -> None:
        masked, open_, other = normal(4, 5), normal(4, 5), normal(4, 5)
        masked[:, 3], open_[:, 3], other[:, 3] = -1e9, 0.0, -1e30
        index = Index()
        index.add(1, Sketch(open_))
        assert all(gap > 1e-3 for gap, _, _ in index.nearest(Sketch(masked)))
        index.add(2, Sketch(other))
        assert index.nearest(Sketch(masked))[0][:2] == (0.0, 2)
