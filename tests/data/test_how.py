"""Every way in which samples can differ is named, and what is equal is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from parity.data.how import explain

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (24, 3, 12, 10)).astype(np.float32)
SMOOTH = np.cumsum(np.cumsum(RNG.standard_normal((24, 3, 16, 16)), 2), 3).astype(np.float32)
IMAGES = PIXELS / 255
LABELS = RNG.integers(0, 7, 48)
TOKENS = RNG.integers(1, 50, (20, 12))
TABLE = RNG.standard_normal((40, 6)).astype(np.float32)


def kinds(reference: np.ndarray, candidate: np.ndarray) -> list[str]:
    return [how.kind for how in explain(reference, candidate)]


@pytest.mark.parametrize("values", [PIXELS, IMAGES, LABELS, TOKENS, TABLE, np.zeros((4, 3), np.float32)])
def test_equal_samples_are_no_difference(values: np.ndarray) -> None:
    assert explain(values, values.copy()) == []


def test_rounding_of_float32_is_no_difference() -> None:
    mean, std = np.float32(0.4914), np.float32(0.247)
    one = (IMAGES - mean) / std
    other = (IMAGES.astype(np.float64) / float(std) - float(mean) / float(std)).astype(np.float32)
    assert not np.array_equal(one, other)
    assert explain(one, other) == []


def test_integer_widths_are_no_difference() -> None:
    assert explain(LABELS.astype(np.int64), LABELS.astype(np.int32)) == []


def test_a_column_of_one_is_no_difference() -> None:
    assert explain(TABLE[:, 0], TABLE[:, :1]) == []


class TestScaling:
    def test_normalised_twice(self) -> None:
        mean, std = np.array([0.49, 0.48, 0.45]), np.array([0.25, 0.24, 0.26])
        shape = (1, 3, 1, 1)
        reference = (IMAGES - mean.reshape(shape)) / std.reshape(shape)
        candidate = (reference - mean.reshape(shape)) / std.reshape(shape)
        (how,) = explain(reference.astype(np.float32), candidate.astype(np.float32))
        assert how.kind == "normalization"
        assert how.factors is not None
        assert np.allclose(how.factors[0], 1 / std, rtol=1e-4)
        assert np.allclose(how.factors[1], -mean / std, rtol=1e-4)

    def test_pixels_in_0_to_255(self) -> None:
        (how,) = explain(IMAGES, PIXELS)
        assert how.kind == "scale"
        assert "255" in how.text

    def test_shift(self) -> None:
        (how,) = explain(TABLE, TABLE + 0.5)
        assert (how.kind, how.factors) == ("shift", ([pytest.approx(1)], [pytest.approx(0.5)]))

    def test_each_feature_of_a_table_by_itself(self) -> None:
        (how,) = explain(TABLE, TABLE * np.arange(1, 7, dtype=np.float32) + 1)
        assert how.kind == "normalization"
        assert how.factors is not None
        assert np.allclose(how.factors[0], np.arange(1, 7), rtol=1e-4)

    def test_in_the_last_axis(self) -> None:
        table = np.moveaxis(IMAGES, 1, 3)
        assert kinds(table, table * np.array([1, 2, 3], np.float32)) == ["scale"]

    def test_other_values_are_no_scaling(self) -> None:
        other = np.random.default_rng(6).standard_normal(TABLE.shape).astype(np.float32)
        assert kinds(TABLE, other) == ["unrelated"]


class TestLayout:
    def test_hwc(self) -> None:
        (how,) = explain(IMAGES, IMAGES.transpose(0, 2, 3, 1))
        assert how.kind == "layout"
        assert "HWC where the reference has CHW" in how.text

    def test_chw(self) -> None:
        hwc = IMAGES.transpose(0, 2, 3, 1)
        assert "CHW where the reference has HWC" in explain(hwc, IMAGES)[0].text

    def test_reshaped_instead_of_transposed(self) -> None:
        hwc = np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))
        (how,) = explain(IMAGES, hwc.reshape(IMAGES.shape))
        assert how.kind == "layout"
        assert "reshaped" in how.text

    def test_bgr(self) -> None:
        assert kinds(IMAGES, IMAGES[:, ::-1]) == ["channel-order"]
        hwc = IMAGES.transpose(0, 2, 3, 1)
        assert kinds(hwc, hwc[..., ::-1]) == ["channel-order"]

    def test_bgr_before_the_same_normalization_is_one_difference(self) -> None:
        mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in ([0.48, 0.45, 0.41], [0.23, 0.22, 0.24]))
        assert kinds((IMAGES - mean) / std, (IMAGES[:, ::-1] - mean) / std) == ["channel-order"]
        assert kinds((IMAGES - mean) / std, (IMAGES[:, ::-1] - mean) / (1.1 * std)) != ["channel-order"]

    def test_bgr_and_another_scale_are_two_differences(self) -> None:
        assert kinds(IMAGES, PIXELS[:, ::-1]) == ["channel-order", "scale"]

    def test_mirrored(self) -> None:
        assert kinds(IMAGES, IMAGES[..., ::-1]) == ["flip"]

    def test_height_and_width_exchanged(self) -> None:
        square = SMOOTH
        assert kinds(square, square.transpose(0, 1, 3, 2)) == ["layout"]


class TestImages:
    def test_flips_at_random(self) -> None:
        flip = np.random.default_rng(1).random(len(SMOOTH)) < 0.5
        candidate = np.where(flip[:, None, None, None], SMOOTH[..., ::-1], SMOOTH)
        (how,) = explain(SMOOTH, candidate)
        assert how.kind == "flip"
        assert f"{flip[:16].sum()} of 16 images are mirrored" in how.text

    def test_crops_at_random(self) -> None:
        padded = np.pad(SMOOTH, ((0, 0), (0, 0), (4, 4), (4, 4)))
        sides = []
        for seed in (1, 2):
            rng = np.random.default_rng(seed)
            places = rng.integers(0, 5, (len(SMOOTH), 2))
            sides.append(
                np.stack([image[:, y : y + 16, x : x + 16] for image, (y, x) in zip(padded, places, strict=True)])
            )
        (how,) = explain(*sides)
        assert how.kind == "crop"
        assert "random" in how.text

    def test_one_crop_for_all(self) -> None:
        (how,) = explain(SMOOTH[..., 2:, 1:], SMOOTH[..., :-2, :-1])
        assert how.kind == "crop"
        assert "-2 rows and -1 columns" in how.text

    def test_another_interpolation(self) -> None:
        nearest = SMOOTH[..., ::2, ::2]
        mean = SMOOTH.reshape(24, 3, 8, 2, 8, 2).mean((3, 5))
        assert kinds(nearest, mean) == ["resize"]

    def test_another_size(self) -> None:
        (how,) = explain(SMOOTH, SMOOTH[..., ::2, ::2])
        assert how.kind == "image-size"
        assert how.value == ([3, 16, 16], [3, 8, 8])


class TestLabels:
    def test_offset(self) -> None:
        (how,) = explain(LABELS, LABELS + 1)
        assert (how.kind, how.value) == ("label-offset", (0, 1))

    def test_other_numbers_of_the_classes(self) -> None:
        order = np.array([3, 0, 1, 2, 6, 5, 4])
        (how,) = explain(LABELS, order[LABELS])
        assert how.kind == "label-order"
        assert "0 to 3, 1 to 0" in how.text

    def test_merged_classes(self) -> None:
        assert kinds(LABELS, np.minimum(LABELS, 5)) == ["label-merge"]

    def test_one_hot(self) -> None:
        hot = np.eye(7, dtype=np.float32)[LABELS]
        (how,) = [h for h in explain(LABELS, hot) if h.kind != "dtype"]
        assert how.kind == "one-hot"
        assert "over 7 classes" in how.text

    def test_other_labels(self) -> None:
        assert kinds(LABELS, np.random.default_rng(9).permutation(LABELS)) == ["unrelated"]


class TestSequences:
    @pytest.fixture
    def padded(self) -> np.ndarray:
        rows = TOKENS.copy()
        for row, length in zip(rows, np.random.default_rng(2).integers(4, 12, len(rows)), strict=True):
            row[length:] = 0
        return rows

    def left(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([np.concatenate([row[row == 0], row[row != 0]]) for row in rows])

    def test_value(self, padded: np.ndarray) -> None:
        (how,) = explain(padded, np.where(padded == 0, 99, padded))
        assert (how.kind, how.value) == ("padding-value", (0.0, 99.0))

    def test_side(self, padded: np.ndarray) -> None:
        (how,) = explain(padded, self.left(padded))
        assert (how.kind, how.value) == ("padding-side", ("right", "left"))

    def test_length(self, padded: np.ndarray) -> None:
        (how,) = explain(padded, np.pad(padded, ((0, 0), (0, 4))))
        assert (how.kind, how.value) == ("padding-length", (12, 16))

    def test_cut(self) -> None:
        (how,) = explain(TOKENS, TOKENS[:, :8])
        assert how.kind == "sequence-length"

    def test_shift(self) -> None:
        (how,) = explain(TOKENS[:, :-1], TOKENS[:, 1:])
        assert (how.kind, how.value) == ("sequence-shift", (0, 1))

    def test_backwards(self) -> None:
        assert kinds(TOKENS, TOKENS[:, ::-1]) == ["sequence-order"]


class TestTypes:
    def test_float_widths(self) -> None:
        (how,) = explain(TABLE, TABLE.astype(np.float64))
        assert (how.kind, how.size, how.value) == ("dtype", 0.0, ("float32", "float64"))

    def test_lost_fractions(self) -> None:
        assert kinds(TABLE * 10, (TABLE * 10).astype(np.int32)) == ["dtype"]

    def test_missing_values(self) -> None:
        broken = TABLE.copy()
        broken[3, 2] = np.nan
        (how,) = explain(TABLE, broken)
        assert (how.kind, how.value) == ("missing-values", (0, 1))

    def test_missing_values_at_the_same_places(self) -> None:
        broken = TABLE.copy()
        broken[3, 2] = np.nan
        assert explain(broken, broken.copy()) == []


class TestPartly:
    def test_another_threshold(self) -> None:
        values = RNG.random((30, 16))
        (how,) = explain((values > 0.5).astype(np.float32), (values > 0.6).astype(np.float32))
        assert how.kind == "values"
        assert "all smaller" in how.text
        assert how.size > 0.1

    def test_a_part_that_is_darker(self) -> None:
        dark = np.where(RNG.random(SMOOTH.shape) < 0.3, SMOOTH - 1e-3 * SMOOTH.std(), SMOOTH).astype(np.float32)
        (how,) = explain(SMOOTH, dark)
        assert how.kind == "values"
        assert how.size > 0

    def test_masks_of_two_generators_are_no_fault(self) -> None:
        masked = [np.where(RNG.random((20, 48)) < 0.15, 25, np.tile(TOKENS, (1, 4))) for _ in range(2)]
        (how,) = explain(*masked)
        assert (how.kind, how.size) == ("values", 0.0)

    def test_values_of_few_kinds_are_not_equal_by_chance(self) -> None:
        (how,) = explain(*(RNG.random((2, 30, 40)) < 0.05).astype(np.float32))
        assert how.kind == "unrelated"

    def test_padding_that_begins_later(self) -> None:
        lengths = RNG.integers(4, 10, len(TOKENS))
        short, more = TOKENS.copy(), TOKENS.copy()
        for row, length in enumerate(lengths):
            short[row, length:] = 0
            more[row, length + 1 :] = 0
        (how,) = explain(short, more)
        assert how.kind == "sequence-length"
        assert "1 places longer" in how.text
        (how,) = explain(more, short)
        assert "1 places shorter" in how.text
