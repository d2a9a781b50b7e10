"""Tensors of a proof, from their description in `mappings/` (`"f32[2, 3]{0..1}"`)."""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np

DTYPES = {
    "f16": np.float16, "bf16": np.float32, "f32": np.float32, "f64": np.float64, "i8": np.int8, "u8": np.uint8,
    "i16": np.int16, "i32": np.int32, "i64": np.int64, "bool": np.bool_, "c64": np.complex64, "c128": np.complex128,
    "prob": np.float32,
}  # fmt: skip

_DRAWN = re.compile(r"^(\w+)\[([\d, ]*)\](?:\{(-?[\d.e-]+)\.\.(-?[\d.e-]+)\})?$")
_GIVEN = re.compile(r"^(\w+)=(.+)$", re.DOTALL)


class Array:
    """An array and the dtype that it has in a framework, which NumPy may lack (`bf16`)."""

    def __init__(self, values: np.ndarray, dtype: str) -> None:
        self.values = values
        self.dtype = dtype

    @property
    def floating(self) -> bool:
        """Whether a gradient can be taken with respect to it."""
        return self.dtype in ("f16", "bf16", "f32", "f64", "prob")


def array(text: str, generator: np.random.Generator) -> Array | None:
    """The array that a text describes; None where it describes none."""
    given = _GIVEN.match(text)
    if given and given[1] in DTYPES:
        return Array(np.array(ast.literal_eval(given[2]), DTYPES[given[1]]), given[1])
    drawn = _DRAWN.match(text)
    if drawn is None or drawn[1] not in DTYPES:
        return None
    dtype = drawn[1]
    shape = tuple(int(each) for each in drawn[2].split(",") if each.strip())
    low, high = (float(drawn[3]), float(drawn[4])) if drawn[3] is not None else (None, None)
    return Array(np.asarray(_draw(dtype, shape, low, high, generator), DTYPES[dtype]), dtype)


def _draw(
    dtype: str, shape: tuple[int, ...], low: float | None, high: float | None, generator: np.random.Generator
) -> Any:
    if dtype == "bool":
        return generator.random(shape) < 0.5
    if dtype == "prob":
        values = generator.random(shape) + 0.1
        return values / values.sum(-1, keepdims=True)
    if dtype in ("c64", "c128"):
        return generator.standard_normal(shape) + 1j * generator.standard_normal(shape)
    if dtype[0] in "iu":
        bounds = (0, 10) if low is None or high is None else (int(low), int(high))
        return generator.integers(*bounds, shape)
    if low is not None and high is not None:
        return generator.uniform(low, high, shape)
    return generator.standard_normal(shape)


def described(value: Any, generator: np.random.Generator) -> Any:
    """A proof's argument with its tensors drawn: texts that describe none stay texts."""
    if isinstance(value, str):
        drawn = array(value, generator)
        return value if drawn is None else drawn
    if isinstance(value, list):
        return [described(each, generator) for each in value]
    return value
