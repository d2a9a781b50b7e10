"""Effective arguments of a constructed object: what was passed, and the signature's defaults for the rest."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np


def _told(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


_signature = lru_cache(maxsize=4096)(_told)


_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def constructor_of(cls: type, init: Any) -> Any:
    """The constructor that tells its parameters, of a class that passes whatever it is given on to its base.

    So do the recurrent layers of both frameworks, behind a `mode` of their own.

    Args:
        cls: The class.
        init: Its constructor.
    """
    return _behind(cls) or init


@lru_cache(maxsize=4096)
def _behind(cls: type) -> Any:
    if cls.__name__ == "RNN":  # which takes a nonlinearity of its own
        return None
    signature = _told(cls.__init__)  # type: ignore[misc]
    own = list(signature.parameters.values())[1:] if signature is not None else []
    if not own or any(p.kind not in _ANY for p in own):
        return None
    for base in cls.__mro__[1:]:
        behind = _told(vars(base)["__init__"]) if "__init__" in vars(base) else None
        if behind is not None and list(behind.parameters)[1:2] == ["mode"]:
            known = [p for name, p in behind.parameters.items() if name != "mode"]

            def passed(*args: Any, **kwargs: Any) -> None: ...

            passed.__signature__ = behind.replace(parameters=known)  # type: ignore[attr-defined]
            return passed
    return None


def plain(value: Any, is_tensor: Callable[[Any], bool], depth: int = 2) -> Any:
    """A value as JSON can hold it: primitives as they are, the rest by a short description."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return plain(value.item(), is_tensor, depth)
    if isinstance(value, enum.Enum):
        return str(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if is_tensor(value):
        return f"tensor{tuple(value.shape)}"
    if isinstance(value, (list, tuple)) and depth and len(value) <= 16:
        return [plain(v, is_tensor, depth - 1) for v in value]
    if isinstance(value, dict) and depth and len(value) <= 16:
        return {str(k): plain(v, is_tensor, depth - 1) for k, v in value.items()}
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return type(value).__name__


def bound_arguments(
    function: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    is_tensor: Callable[[Any], bool],
    *,
    method: bool = True,
) -> tuple[dict[str, Any], list[str]]:
    """Arguments by name after defaults, and the names of those that were given.

    Args:
        function: A constructor that takes `self` first, or any function.
        args: What was passed by position, without `self`.
        kwargs: What was passed by name.
        is_tensor: Tells the framework's tensors.
        method: Whether `function` takes `self` first.
    """
    signature = _signature(function)
    if signature is None:
        return {str(i): plain(a, is_tensor) for i, a in enumerate(args)} | {
            k: plain(v, is_tensor) for k, v in kwargs.items()
        }, [*map(str, range(len(args))), *kwargs]
    try:
        bound = signature.bind(*((None,) if method else ()), *args, **kwargs)
    except TypeError:
        return {}, []
    first = next(iter(signature.parameters), "") if method else None
    given = [name for name in bound.arguments if name != first]
    bound.apply_defaults()
    flat: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if name == first:
            continue
        if kind is inspect.Parameter.VAR_KEYWORD:
            flat.update({k: plain(v, is_tensor) for k, v in value.items()})
        else:
            flat[name] = plain(value, is_tensor)
    return flat, given
