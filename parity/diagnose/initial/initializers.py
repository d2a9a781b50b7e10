"""Distributions in words, and as a line of MindSpore."""

from __future__ import annotations

import math

from parity.diagnose.initial.distributions import Sample
from parity.diagnose.initial.values import Part, law_of

_ARGUMENTS = {
    "embedding_table": "embedding_table", "gamma": "gamma_init", "beta": "beta_init", "moving_mean": "moving_mean_init",
    "moving_variance": "moving_var_init", "bias": "bias_init", "weight": "weight_init",
}  # fmt: skip


def said(law: tuple[str, tuple[float, ...]], known: Sample | None) -> str:
    """A distribution as a reader writes it: `Normal(0, 0.02)`."""
    kind, numbers = law
    if kind == "constant":
        return {0.0: "zeros", 1.0: "ones"}.get(numbers[0], f"the constant {numbers[0]:.6g}")
    if kind == "normal":
        return f"Normal({numbers[0]:.4g}, {numbers[1]:.4g})"
    if kind == "uniform":
        return f"Uniform({numbers[0]:.4g}, {numbers[1]:.4g})"
    if kind == "truncated":
        return f"TruncatedNormal({numbers[0]:.4g}, {numbers[1]:.4g}) cut at {numbers[2]:.4g} sigma"
    if known is None:
        return "other values"
    return f"a distribution of mean {known.mean:.3g} and std {known.std:.3g}"


_EXACT = 1e-3
"""Relative distance of a scale that a call names from the one that a rule gives."""


def initializer(
    law: tuple[str, tuple[float, ...]], known: Sample | None, shape: tuple[int, ...], measured: bool = False
) -> str:
    """The MindSpore initializer of a distribution, by the rule that gives its scale where one does.

    Args:
        law: The distribution.
        known: A sample of it.
        shape: That of the parameter.
        measured: Whether its scale is that of the sample, and not one that a call names.
    """
    kind, numbers = law
    near = 3 / math.sqrt(2 * known.size) if known is not None and measured else _EXACT
    if kind == "constant":
        return {0.0: "'zeros'", 1.0: "'ones'"}.get(numbers[0], f"Constant({numbers[0]:.6g})")
    if kind == "uniform" and numbers[0] == -numbers[1]:
        named = _by_fan(numbers[1] / math.sqrt(3), shape, "Uniform", near)
        return named or f"Uniform({numbers[1]:.4g})"
    if kind == "normal":
        std = known.std if known is not None and measured else numbers[1]
        named = _by_fan(std, shape, "Normal", near) if numbers[0] == 0 else None
        return named or f"Normal({numbers[1]:.4g}" + (f", {numbers[0]:.4g})" if numbers[0] else ")")
    if kind == "truncated":
        low, high = numbers[0] - numbers[1] * numbers[2], numbers[0] + numbers[1] * numbers[2]
        return f"TruncatedNormal({numbers[1]:.4g}, {numbers[0]:.4g}, {low:.4g}, {high:.4g})"
    if kind == "uniform":
        return f"Tensor(np.random.uniform({numbers[0]:.4g}, {numbers[1]:.4g}, {shape}), mindspore.float32)"
    return f"Normal({known.std:.4g}, {known.mean:.4g})" if known is not None else "the reference's values"


def _by_fan(std: float, shape: tuple[int, ...], kind: str, near: float) -> str | None:
    """`HeUniform(...)` or `XavierNormal()` where that rule gives the standard deviation, None where none does."""
    if len(shape) < 2 or float(f"{std:.2g}") == std:
        return None
    field = math.prod(shape[2:])
    inside, outside = shape[1] * field, shape[0] * field
    rules = {
        f"He{kind}(math.sqrt(5))": math.sqrt(1 / (3 * inside)),
        f"He{kind}()": math.sqrt(2 / inside),
        f"He{kind}(mode='fan_out')": math.sqrt(2 / outside),
        f"Xavier{kind}()": math.sqrt(2 / (inside + outside)),
        f"He{kind}(nonlinearity='linear')": math.sqrt(1 / inside),
        f"Xavier{kind}(gain=5 / 3)": 5 / 3 * math.sqrt(2 / (inside + outside)),
        f"Xavier{kind}(gain=math.sqrt(2))": math.sqrt(4 / (inside + outside)),
    }
    nearest = min(rules, key=lambda name: abs(math.log(std / rules[name])))
    return nearest if abs(math.log(std / rules[nearest])) < near else None


def fix_for(reference: Part, candidate: Part, known: Sample | None) -> str:
    """The line that gives the candidate's parameter the reference's start."""
    law = law_of(reference, known)
    shape = () if candidate.info.role == "embedding_table" else reference.info.shape
    text = initializer(law, known, shape, reference.values is not None and not reference.law)
    if not law[0] and not reference.drawn:
        return f"load the reference's values into {candidate.info.name}: Parameter.set_data(Tensor(...))"
    layer = candidate.layer
    argument = _ARGUMENTS.get(candidate.info.role)
    by_layer = layer is not None and candidate.line in (None, layer.line)
    if layer is not None and by_layer and layer.framework and argument is not None and argument in layer.arguments:
        return f"nn.{layer.type}(..., {argument}={text})"
    name = candidate.info.name
    return f"{name}.set_data(initializer({text}, {name}.shape))"
