"""The closed set of conversions between two frameworks' conventions for one argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Unknown(Exception):
    """A value cannot be converted or compared: a tensor, an object, a size that only a run knows."""


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unknown
    return value


def _item(index: int) -> Callable[[Any], Any]:
    def item(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) <= index:
            raise Unknown
        return value[index]

    return item


def _not(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Unknown
    return not value


def _same(value: Any) -> Any:
    return value


def _rounded(value: float) -> float:
    """0.9 for 1 - 0.1: what a person would have written."""
    return float(f"{value:.12g}")


def _bare(value: Any) -> Any:
    """`torch.nn.functional.relu`, `<function relu>` and `'ReLU'` alike: `relu`."""
    if not isinstance(value, str):
        return value
    text = value.removeprefix("<function ").removeprefix("<class '").split(" at ")[0].rstrip(">'")
    return text.rpartition(".")[2].replace("_", "").lower()


def _pairs_reversed(value: Any) -> Any:
    """`(left, right, top, bottom)` as one pair per dimension, the first dimension first."""
    if not isinstance(value, (list, tuple)) or len(value) % 2:
        raise Unknown
    return [list(value[i : i + 2]) for i in range(len(value) - 2, -1, -2)]


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "same": _same,
    "one_minus": lambda v: _rounded(1 - _number(v)),
    "negate": lambda v: -_number(v),
    "reciprocal": lambda v: _rounded(1 / _number(v)) if _number(v) else math.inf,
    "square": lambda v: _rounded(_number(v) ** 2),
    "sqrt": lambda v: _rounded(math.sqrt(_number(v))),
    "not": _not,
    "item0": _item(0),
    "item1": _item(1),
    "dtype": _bare,
    "name": _bare,
    "bool_none": lambda v: None if v is False else v,
    "is_tanh": lambda v: v == "tanh",
    "axis": _same,
    "drop_probability": _same,
    "pairs_reversed": _pairs_reversed,
    "stride": _same,
    "padding": _same,
    "initializer": _same,
    "either": _same,
    "none": _same,
}

TRANSFORMS = frozenset(_CONVERT)
"""Names that a parameter line may give."""

INCOMPARABLE = frozenset({"none", "either", "initializer"})
"""Transforms whose two values are never held against each other by value alone."""


def convert(transform: str, value: Any) -> Any:
    """The candidate's value that has the meaning of the reference's.

    Raises:
        Unknown: The value is not of the kind that the transform converts.
    """
    if value is None and transform not in ("bool_none",):
        return None
    return _CONVERT[transform](value)


def equal(transform: str, expected: Any, candidate: Any) -> bool:
    """Whether a converted value and the candidate's are the same; 1 equals 1.0, and 3 equals (3, 3)."""
    if transform in ("dtype", "name"):
        return bool(_bare(expected) == _bare(candidate))
    return alike(expected, candidate)


def alike(one: Any, other: Any) -> bool:
    """Equal as arguments: numbers by value, sequences item by item, a number as a sequence of itself."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) == len(other):
            return all(map(alike, one, other))
        short, long = sorted((one, other), key=len)
        return len(short) == 1 and all(alike(short[0], item) for item in long)
    if isinstance(one, (list, tuple)):
        return bool(one) and all(alike(item, other) for item in one)
    if isinstance(other, (list, tuple)):
        return alike(other, one)
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


Pairs = list[tuple[int, int]]
"""Padding before and after, one pair per spatial dimension."""


def paddings(
    arguments: Mapping[str, Any], dimensions: int, sizes: Sequence[int] | None, names: Mapping[str, str] | None = None
) -> Pairs:
    """The padding that a convolution or a pooling applies.

    Args:
        arguments: `kernel_size`, `stride`, `dilation`, `padding`, and `pad_mode` where the class has it.
        dimensions: Number of spatial dimensions.
        sizes: The input's spatial extents, where known.
        names: Other names of these arguments.

    Raises:
        Unknown: It depends on the input's size, and that is not known; or an argument is no number.
    """

    def argument(name: str, default: Any) -> Any:
        value = arguments.get((names or {}).get(name, name), default)
        return default if value is None else value

    kernel = spread(argument("kernel_size", 1), dimensions)
    stride = spread(argument("stride", kernel), dimensions)
    dilation = spread(argument("dilation", 1), dimensions)
    padding = argument("padding", 0)
    mode = argument("pad_mode", padding if isinstance(padding, str) else "pad")
    if not isinstance(mode, str):
        raise Unknown
    mode = mode.lower()
    if mode == "valid":
        return [(0, 0)] * dimensions
    if mode == "pad":
        return _explicit(padding, dimensions)
    if mode != "same":
        raise Unknown
    known: Sequence[int | None] = sizes if sizes is not None and len(sizes) == dimensions else [None] * dimensions
    totals = [_total(*each) for each in zip(kernel, stride, dilation, known, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def spread(value: Any, dimensions: int) -> list[int]:
    """An extent per spatial dimension from a number or a sequence.

    Raises:
        Unknown: It is neither.
    """
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(v, int) for v in values):
        raise Unknown
    if len(values) == 1:
        return values * dimensions
    if len(values) < dimensions:
        raise Unknown
    return values[-dimensions:]


def _total(kernel: int, stride: int, dilation: int, size: int | None) -> int:
    span = dilation * (kernel - 1) + 1
    if stride == 1:
        return span - 1
    if span == 1:
        return 0
    if size is None:
        raise Unknown
    return max((-(-size // stride) - 1) * stride + span - size, 0)


def _explicit(padding: Any, dimensions: int) -> Pairs:
    values = list(padding) if isinstance(padding, (list, tuple)) else [padding]
    if not all(isinstance(v, int) for v in values):
        raise Unknown
    if len(values) == 1:
        values = values * dimensions
    if len(values) == dimensions:
        return [(v, v) for v in values]
    if len(values) == 2 * dimensions:
        return [(values[2 * i], values[2 * i + 1]) for i in range(dimensions)]
    raise Unknown
