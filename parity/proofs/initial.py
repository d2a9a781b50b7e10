"""Initial distributions: what an entry claims of them, held against what the layers draw."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

DRAWS = 4000
"""Values wanted of one weight: a scale that is 5% off is then more than four standard errors away."""


class Claim:
    """A distribution: its mean, its standard deviation, the bounds of its support, its kurtosis where it is told."""

    def __init__(
        self, mean: float, std: float, low: float = -math.inf, high: float = math.inf, kurtosis: float | None = None
    ) -> None:
        self.mean = mean
        self.std = std
        self.low = low
        self.high = high
        self.kurtosis = kurtosis

    @classmethod
    def uniform(cls, low: float, high: float) -> Claim:
        return cls((low + high) / 2, (high - low) / math.sqrt(12), low, high, 1.8)

    @classmethod
    def normal(cls, mean: float, std: float) -> Claim:
        return cls(mean, std, kurtosis=3.0)


def claim(spec: str, shape: tuple[int, ...], fans: tuple[int, int], names: dict[str, float]) -> Claim | None:
    """The distribution that a text such as `uniform(-1/sqrt(fan_in), 1/sqrt(fan_in))` means; None for `random`.

    Args:
        spec: The text.
        shape: The weight's shape.
        fans: (fan_in, fan_out) of the layer.
        names: More numbers that the text may use.

    Raises:
        ValueError: The text is no such expression.
    """
    kind, _, rest = spec.partition("(")
    variables = {**names, "fan_in": float(fans[0]), "fan_out": float(fans[1])}
    variables |= {f"n{i}": float(extent) for i, extent in enumerate(shape)}
    arguments = [_number(node, variables) for node in _arguments(rest)]
    fan_in, fan_out = fans
    if kind in ("zeros", "ones", "constant"):
        value = arguments[0] if arguments else float(kind == "ones")
        return Claim(value, 0.0, value, value)
    if kind == "normal":
        return Claim.normal(arguments[0], arguments[1])
    if kind == "uniform":
        return Claim.uniform(arguments[0], arguments[1])
    if kind == "truncated_normal":
        return _truncated(*arguments)
    if kind in ("kaiming_uniform", "kaiming_normal"):
        std = math.sqrt(2 / (1 + (arguments[0] if arguments else 0.0) ** 2) / fan_in)
        return Claim.uniform(-std * math.sqrt(3), std * math.sqrt(3)) if "uniform" in kind else Claim.normal(0, std)
    if kind in ("xavier_uniform", "xavier_normal"):
        std = (arguments[0] if arguments else 1.0) * math.sqrt(2 / (fan_in + fan_out))
        return Claim.uniform(-std * math.sqrt(3), std * math.sqrt(3)) if "uniform" in kind else Claim.normal(0, std)
    if kind in ("random", "eye", "orthogonal"):
        return None
    raise ValueError(f"unknown distribution {spec!r}")


def _truncated(mean: float, std: float, low: float = -2.0, high: float = 2.0) -> Claim:
    a, b = (low - mean) / std, (high - mean) / std
    density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (a, b)]
    mass = 0.5 * (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2)))
    shift = (density[0] - density[1]) / mass
    spread = 1 + (a * density[0] - b * density[1]) / mass - shift**2
    return Claim(mean + std * shift, std * math.sqrt(spread), low, high)


def _arguments(rest: str) -> list[ast.expr]:
    if not rest:
        return []
    call = ast.parse("f(" + rest, mode="eval").body
    assert isinstance(call, ast.Call)
    return call.args


_OPERATIONS: dict[type, Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


def _number(node: ast.expr, names: dict[str, float]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand, names)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_number(node.left, names), _number(node.right, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("sqrt", "log"):
        return float(getattr(math, node.func.id)(_number(node.args[0], names)))
    raise ValueError(f"not a number: {ast.unparse(node)}")


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight [out, in, *receptive field]."""
    if len(shape) < 2:
        return (shape[0] if shape else 1,) * 2
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def disagreements(values: np.ndarray, wanted: Claim | None) -> Iterator[str]:
    """What measured values say against a claimed distribution.

    Args:
        values: float [draws], of one weight, many constructions.
        wanted: The claim; None claims only that the values are random.
    """
    values = np.asarray(values, np.float64)
    if wanted is None:
        if values.std() == 0:
            yield f"constant {values.flat[0]:g}"
        return
    if wanted.std == 0:
        if not (values == wanted.mean).all():
            yield f"mean {values.mean():.4g} and deviation {values.std():.4g}, not the constant {wanted.mean:g}"
        return
    n = values.size
    mean, std = float(values.mean()), float(values.std())
    if abs(std / wanted.std - 1) > max(0.05, 5 / math.sqrt(n)):
        yield f"deviation {std:.4g}, not {wanted.std:.4g}"
    if abs(mean - wanted.mean) > 5.5 * wanted.std / math.sqrt(n):
        yield f"mean {mean:.4g}, not {wanted.mean:.4g}"
    slack = 1e-6 + 1e-6 * max(abs(wanted.low), abs(wanted.high)) if math.isfinite(wanted.high) else 0.0
    if values.min() < wanted.low - slack or values.max() > wanted.high + slack:
        yield f"values in [{values.min():.4g}, {values.max():.4g}], outside [{wanted.low:.4g}, {wanted.high:.4g}]"
    if wanted.kurtosis is not None and n >= 1000:
        kurtosis = float(((values - mean) ** 4).mean() / std**4)
        if abs(kurtosis - wanted.kurtosis) > 0.5 + 15 / math.sqrt(n):
            yield f"kurtosis {kurtosis:.2f}, not {wanted.kurtosis:.2f}: another kind of distribution"


def measured(build: Callable[[], dict[str, Any]], limit: int = 200) -> dict[str, np.ndarray]:
    """Values of each weight over as many constructions as give `DRAWS` of them.

    Args:
        build: Constructs the layer and gives its weights by name.
        limit: Constructions at most.
    """
    drawn: dict[str, list[np.ndarray]] = {}
    for _ in range(limit):
        weights = build()
        for name, values in weights.items():
            drawn.setdefault(name, []).append(np.asarray(values, np.float64).ravel())
        if all(sum(v.size for v in each) >= DRAWS or _constant(each) for each in drawn.values()):
            break
    return {name: np.concatenate(each) for name, each in drawn.items() if each}


def _constant(drawn: list[np.ndarray]) -> bool:
    return len(drawn) >= 3 and all(each.size and (each == drawn[0].flat[0]).all() for each in drawn)
