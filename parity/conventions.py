"""The arguments of one pair of layers, optimizers or functions, brought to one convention and compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from parity.entries import ABSENT, Entry, Parameter
from parity.transforms import INCOMPARABLE, TRANSFORMS, Unknown, alike, convert, equal, paddings, spread

NEUTRAL = frozenset(
    {
        "capturable", "copy", "device", "differentiable", "dtype", "foreach", "fused", "generator", "inplace",
        "layout", "memory_format", "name", "non_blocking", "out", "pin_memory", "prefix", "requires_grad",
        "_stacklevel", "use_locking", "auto_prefix", "size_average", "reduce",
    }
)  # fmt: skip
"""Parameters that do not change what is computed; never compared where only one side has them."""


class Compared(msgspec.Struct, frozen=True):
    """One parameter as both sides have it.

    Attributes:
        parameter: The entry's line.
        reference: The reference's value; `ABSENT` where it has no such parameter.
        candidate: The candidate's value; likewise.
        expected: The candidate's value that has the reference's meaning; `ABSENT` where none can be given.
        equal: None where nothing can be said.
        missing: Only one side has the parameter, and not at its default.
        fix: The argument to write in the candidate, for an unequal one that has a counterpart.
    """

    parameter: Parameter
    reference: Any
    candidate: Any
    expected: Any
    equal: bool | None
    missing: bool = False
    fix: str | None = None


def compare(
    entry: Entry,
    reference_args: Mapping[str, Any],
    candidate_args: Mapping[str, Any],
    shape: Sequence[int] | None = None,
) -> list[Compared]:
    """The arguments of one pair, brought to the candidate's convention and held against each other.

    Args:
        entry: What `lookup` gave.
        reference_args: The reference's effective arguments: plain values, defaults filled in.
        candidate_args: The candidate's.
        shape: The layer's input, [N, C, ...], where it is known: it decides what pad_mode "same" means at a
            stride other than 1.

    Returns:
        One for each parameter that can be compared; neither required tensors nor `NEUTRAL` ones are among them.
    """
    together = any(p.transform == "padding" for p in entry.parameters)
    compared = []
    for parameter in entry.parameters:
        name = parameter.reference or parameter.candidate
        one = _value(parameter.reference, parameter.reference_default, reference_args)
        other = _value(parameter.candidate, parameter.candidate_default, candidate_args)
        if together and parameter.reference is None and parameter.candidate == "pad_mode":
            continue
        if parameter.transform == "padding" and parameter.reference is not None:
            compared.append(_padding(entry, parameter, reference_args, candidate_args, shape))
        elif parameter.reference is None or parameter.candidate is None:
            if name not in NEUTRAL:
                compared.append(_one_sided(parameter, one, other))
        elif one is not ABSENT and other is not ABSENT:
            compared.append(_both(parameter, one, other, reference_args, candidate_args, shape))
    return compared


def _value(name: str | None, default: Any, arguments: Mapping[str, Any]) -> Any:
    return ABSENT if name is None else arguments.get(name, default)


def _described(value: Any) -> bool:
    """Whether a trace holds a description in place of the value: `tensor(3,)`."""
    return isinstance(value, str) and value.startswith("tensor(")


def _both(
    parameter: Parameter,
    one: Any,
    other: Any,
    reference_args: Mapping[str, Any],
    candidate_args: Mapping[str, Any],
    shape: Sequence[int] | None,
) -> Compared:
    at_defaults = one == parameter.reference_default and other == parameter.candidate_default
    theirs = other
    try:
        expected = convert(parameter.transform, one)
        if parameter.transform == "stride":
            expected = reference_args.get("kernel_size") if one is None else one
            theirs = candidate_args.get("kernel_size") if other is None else other
        elif parameter.transform == "drop_probability" and other is None:
            theirs = convert("one_minus", candidate_args.get("keep_prob", 0.5))
        elif parameter.transform == "axis" and one != other:
            expected, theirs = _axis(one, shape), _axis(other, shape)
    except Unknown:
        return Compared(parameter, one, other, ABSENT, None)
    if parameter.transform in INCOMPARABLE or (_described(one) and _described(other)):
        return Compared(parameter, one, other, expected, None)
    if at_defaults and parameter.transform in _ALONE:
        same = not parameter.differs
    else:
        same = equal(parameter.transform, expected, theirs)
        if not same and (_object(one) or _object(other)):
            return Compared(parameter, one, other, expected, None)
    fix = None if same or parameter.candidate is None else f"{parameter.candidate}={written(expected)}"
    return Compared(parameter, one, other, expected, same, fix=fix)


_ALONE = TRANSFORMS - {"stride", "drop_probability", "axis"}
"""Transforms of a value by itself, for which the entry's word on the defaults is final."""


def _axis(value: Any, shape: Sequence[int] | None) -> Any:
    """An axis counted from the front; PyTorch's `dim=None` of softmax by its rule.

    Raises:
        Unknown: It takes the rank of the input, and that is not known.
    """
    if isinstance(value, int) and value >= 0:
        return value
    if shape is None or not (value is None or isinstance(value, int)):
        raise Unknown
    if value is None:
        return int(len(shape) not in (0, 1, 3))
    return value + len(shape)


def _object(value: Any) -> bool:
    """Whether a trace holds the name of an object's class in place of a value, as of a schedule for a rate."""
    return isinstance(value, dict) or (isinstance(value, str) and value[:1].isupper() and value.isidentifier())


def _one_sided(parameter: Parameter, one: Any, other: Any) -> Compared:
    value, default = (one, parameter.reference_default) if parameter.candidate is None else (
        other, parameter.candidate_default
    )  # fmt: skip
    if value is ABSENT or default is ABSENT or parameter.transform in INCOMPARABLE:
        return Compared(parameter, one, other, ABSENT, None)
    if alike(value, default):
        return Compared(parameter, one, other, ABSENT, not parameter.differs)
    return Compared(parameter, one, other, ABSENT, False, missing=True)


_DIMENSIONS = re.compile(r"([123])d", re.IGNORECASE)


def _padding(
    entry: Entry,
    parameter: Parameter,
    reference_args: Mapping[str, Any],
    candidate_args: Mapping[str, Any],
    shape: Sequence[int] | None,
) -> Compared:
    one = _value(parameter.reference, parameter.reference_default, reference_args)
    other = _value(parameter.candidate, parameter.candidate_default, candidate_args)
    found = _DIMENSIONS.search(entry.reference)
    dimensions = int(found[1]) if found else 2
    sizes = list(shape[-dimensions:]) if shape is not None and len(shape) > dimensions else None
    shown = other
    if "pad_mode" in candidate_args:
        shown = candidate_args["pad_mode"] if candidate_args["pad_mode"] != "pad" else other
    try:
        wanted = paddings(_with_defaults(entry, "reference", reference_args), dimensions, sizes)
    except Unknown:
        return Compared(parameter, one, shown, ABSENT, None)
    has_mode = any(p.candidate == "pad_mode" for p in entry.parameters)
    expected = _as_argument(wanted, has_mode)
    try:
        same = wanted == paddings(_with_defaults(entry, "candidate", candidate_args), dimensions, sizes)
    except Unknown:
        if _reachable(entry, candidate_args, dimensions, wanted):
            return Compared(parameter, one, shown, expected, None)
        same = False
    if same and _left_out(entry, reference_args, candidate_args) and any(any(pair) for pair in wanted):
        same = False
    mode = 'pad_mode="valid"' if expected == 0 else f'pad_mode="pad", {parameter.candidate}={written(expected)}'
    fix = None if same else mode if has_mode else f"{parameter.candidate}={written(expected)}"
    return Compared(parameter, one, shown, expected, same, fix=fix)


def _left_out(entry: Entry, reference_args: Mapping[str, Any], candidate_args: Mapping[str, Any]) -> bool:
    """Whether the reference averages over its padding and the candidate does not, as it never does with "same"."""
    included = _with_defaults(entry, "reference", reference_args).get("count_include_pad", False)
    return bool(included) and _with_defaults(entry, "candidate", candidate_args).get("pad_mode") == "same"


def _with_defaults(entry: Entry, side: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {
        getattr(p, side): getattr(p, f"{side}_default")
        for p in entry.parameters
        if getattr(p, side) is not None and getattr(p, f"{side}_default") is not ABSENT
    }
    return defaults | dict(arguments)


def _reachable(entry: Entry, arguments: Mapping[str, Any], dimensions: int, wanted: list[tuple[int, int]]) -> bool:
    """Whether pad_mode "same" gives this padding for some size of the input."""
    effective = _with_defaults(entry, "candidate", arguments)
    period = max(spread(effective.get("stride") or 1, dimensions))
    return any(paddings(effective, dimensions, [size] * dimensions) == wanted for size in range(64, 64 + period))


def _as_argument(pairs: list[tuple[int, int]], four: bool) -> Any:
    flat = [each for pair in pairs for each in pair]
    if len(set(flat)) == 1:
        return flat[0]
    return tuple(flat) if four else tuple(low for low, _ in pairs)


def written(value: Any) -> str:
    """A value as a person writes it in Python."""
    if isinstance(value, str):
        return f'"{value}"' if value.isidentifier() or not value else value
    if isinstance(value, list):
        value = tuple(value)
    return repr(value)
