"""Copies of the model's weights that a script keeps beside it: averages of weights (EMA, SWA) among them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

SAMPLE = 1024
"""Elements of each parameter that are looked at."""

_OBJECTS = 256
"""Global objects of a script that are looked at."""


class Shadow(NamedTuple):
    """A full set of tensors that have the shapes of what the model trains.

    Attributes:
        name: What the script calls it.
        class_name: The class of what holds it.
        values: A sample of the copy, float64 [elements].
        weights: The same elements of the model.
    """

    name: str
    class_name: str
    values: np.ndarray
    weights: np.ndarray


def shadows(session: Any) -> list[Shadow]:
    """The copies that the script's variables hold, also one level inside objects of its own classes.

    Args:
        session: A session that knows the model.
    """
    adapter = session.adapter
    own = [held.tensor for held in session.held if held.trainable]
    if not own:
        return []
    known = {id(held.tensor) for held in session.held}
    shapes = [tuple(tensor.shape) for tensor in own]
    optimizers = {id(optimizer) for optimizer in session.optimizers}
    weights: np.ndarray | None = None
    found = []
    for name, value, holder in _holders(session.source):
        if id(value) in optimizers:
            continue
        tensors = _tensors(value, adapter)
        if [tuple(t.shape) for t in tensors] != shapes or any(id(t) in known for t in tensors):
            continue
        if weights is None:
            weights = _sampled(own, adapter)
        found.append(Shadow(name, type(holder).__name__, _sampled(tensors, adapter), weights))
    return found


def _holders(source: Any) -> Iterator[tuple[str, Any, Any]]:
    """Global objects, those of the functions that are running, and of the script's own classes their attributes: name,
    object, and what it hangs at.
    """
    main = sys.modules.get("__main__")
    for name, value in itertools.chain(list(vars(main).items())[:_OBJECTS] if main is not None else (), _local(source)):
        if name.startswith("__") or isinstance(value, (type, int, float, str)):
            continue
        yield name, value, value
        kind = type(value)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if kind.__module__ == "__main__" or (file and source.own(file) is not None):
            for key, part in list(getattr(value, "__dict__", {}).items()):
                yield f"{name}.{key}", part, value


def _local(source: Any) -> Iterator[tuple[str, Any]]:
    """The variables of the script's functions that are running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if source.own(frame.f_code.co_filename) is not None and frame.f_code.co_name != "<module>":
            yield from list(frame.f_locals.items())[:_OBJECTS]
        frame = frame.f_back


def _tensors(value: Any, adapter: Any) -> list[Any]:
    """The parameters of a layer, or the tensors of a list or dictionary; empty for all else."""
    kind = type(value)  # objects of other libraries may do anything when they are asked for an attribute
    if hasattr(kind, "named_modules") or hasattr(kind, "cells_and_names"):
        return [held.tensor for held in adapter.held(value) if not held.buffer]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and value and all(adapter.is_tensor(part) for part in value):
        return list(value)
    return []


def _sampled(tensors: list[Any], adapter: Any) -> np.ndarray:
    parts = []
    for tensor in tensors:
        values = np.asarray(adapter.read(tensor)[0], np.float64).reshape(-1)
        parts.append(values[np.linspace(0, values.size - 1, min(values.size, SAMPLE)).astype(int)])
    return np.concatenate(parts)
