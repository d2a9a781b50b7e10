"""The noise floor, term by term, and the rule of eight floors."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.compare.faults import judged_records
from parity.measured import Forced, Measured
from parity.tolerance import FACTOR, ROUGH, SCALAR, floor, ratio

UNIT = 2.0**-24


def record(**values: Any) -> Measured:
    """A measured place, all of whose terms are zero unless given."""
    base: dict[str, Any] = {"scale": 0.0, "single": 0.0, "probe": 0.0, "terms": 0.0, "n": 1, "unit": UNIT}
    return Measured(0, "forward", "output", "fc", 0, "", "fc", 1, **{**base, **values})


def judged(*records: Measured, **options: Any) -> list[Any]:
    return judged_records(Forced(measured=list(records)), SimpleNamespace(**options))


class TestFloor:
    def test_of_nothing_is_zero(self) -> None:
        assert floor(record()) == 0.0

    def test_a_unit_of_the_value(self) -> None:
        assert floor(record(scale=3.0)) == 3.0 * UNIT

    def test_two_units_behind_a_transcendental(self) -> None:
        assert floor(record(scale=3.0, rough=True)) == ROUGH * 3.0 * UNIT

    def test_the_unit_is_that_of_the_element_type(self) -> None:
        assert floor(record(scale=1.0, unit=2.0**-8)) == 2.0**-8

    def test_the_probe_counts_twice_there(self) -> None:
        assert floor(record(scale=1.0, probe=1e-3, rough=True)) == ROUGH * 1e-3

    def test_the_references_own_error_counts_once(self) -> None:
        assert floor(record(scale=1.0, single=1e-3, rough=True)) == 1e-3

    def test_the_references_own_error(self) -> None:
        assert floor(record(scale=1.0, single=1e-3, probe=1e-5)) == 1e-3

    def test_the_probe(self) -> None:
        assert floor(record(scale=1.0, single=1e-5, probe=1e-3)) == 1e-3

    @pytest.mark.parametrize(("n", "factor"), [(1, 1.0), (64, 1.0), (256, 2.0), (6400, 10.0)])
    def test_long_sums_grow_with_the_root(self, n: int, factor: float) -> None:
        assert floor(record(scale=1.0, probe=1e-5, n=n)) == pytest.approx(factor * 1e-5)

    def test_the_root_takes_the_unit_where_the_probe_is_smaller(self) -> None:
        assert floor(record(scale=1.0, n=6400)) == pytest.approx(10 * UNIT)

    def test_the_root_does_not_take_the_references_own_error(self) -> None:
        assert floor(record(scale=1.0, single=1e-3, n=6400)) == 1e-3

    def test_half_a_unit_of_what_cancels(self) -> None:
        assert floor(record(scale=1e-9, terms=5.0)) == 2.5 * UNIT

    @given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.integers(1, 10**6), st.booleans())
    def test_is_the_largest_term(
        self, scale: float, single: float, probe: float, terms: float, n: int, rough: bool
    ) -> None:
        moved = (ROUGH if rough else 1.0) * max(probe, UNIT * scale)
        expected = max(single, moved, math.sqrt(n) * moved / 8, UNIT * terms / 2)
        assert floor(record(scale=scale, single=single, probe=probe, terms=terms, n=n, rough=rough)) == expected


class TestRatio:
    def test_of_an_error(self) -> None:
        assert ratio(6.0, 2.0) == 3.0

    def test_without_noise(self) -> None:
        assert ratio(1e-30, 0.0) == math.inf
        assert ratio(0.0, 0.0) == 0.0


class TestRule:
    def test_constants(self) -> None:
        assert (FACTOR, SCALAR, ROUGH) == (8.0, 4.0, 2.0)

    @pytest.mark.parametrize(("factor", "flagged"), [(0.0, False), (7.9, False), (8.0, False), (8.1, True)])
    def test_more_than_eight_floors(self, factor: float, flagged: bool) -> None:
        (found,) = judged(record(scale=1.0, error=factor * UNIT))
        assert found.flagged is flagged
        assert found.ratio == pytest.approx(factor)

    def test_a_mismatch_needs_no_error(self) -> None:
        assert judged(record(scale=1.0, mismatch="shape"))[0].flagged

    def test_what_is_not_a_number_is_flagged(self) -> None:
        assert judged(record(scale=1.0, error=math.nan))[0].flagged

    def test_a_loss_has_four_units_of_what_it_is_made_of(self) -> None:
        root = record(scale=1.0)
        root.kind, root.peak = "root", 10.0
        loss = record(scale=0.5, error=300 * UNIT)
        loss.kind, loss.stage = "loss", "loss"
        assert judged(root, loss)[1].floor == SCALAR * UNIT * 10.0
        assert not judged(root, loss)[1].flagged
        assert judged(loss)[0].floor == SCALAR * UNIT * 0.5
        assert judged(loss)[0].flagged

    def test_relative_to_the_value(self) -> None:
        assert judged(record(scale=4.0, error=1.0))[0].relative == (0.25, UNIT)
        assert judged(record(error=1.0))[0].relative == (1.0, 0.0)

    def test_a_fixed_rule_replaces_the_floor(self) -> None:
        (loose,) = judged(record(scale=1.0, error=1.0, worst=0.09), rtol=0.1, atol=0.0)
        (tight,) = judged(record(scale=1.0, error=UNIT, worst=2e-7), rtol=0.0, atol=1e-7)
        assert not loose.flagged
        assert tight.flagged

    def test_one_tolerance_alone_changes_nothing(self) -> None:
        assert judged(record(scale=1.0, error=1.0), rtol=10.0, atol=None)[0].flagged
