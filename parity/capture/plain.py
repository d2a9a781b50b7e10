"""What a model keeps in plain Python, such as counters: a forward pass that leaves no trace gives it back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_PLAIN = (bool, int, float, str, type(None))


@contextmanager
def kept(layers: Iterable[Any]) -> Iterator[None]:
    """What layers keep in plain attributes is behind this what it was before."""
    attributes = _attributes(layers)
    try:
        yield
    finally:
        _restore(attributes)


def _attributes(layers: Iterable[Any]) -> list[tuple[dict[str, Any], str, Any, Any]]:
    """The plain attributes of layers as they are.

    Args:
        layers: Layers of a model.

    Returns:
        Where each hangs, its name, the object, and its content where that can change.
    """
    found: list[tuple[dict[str, Any], str, Any, Any]] = []
    for layer in layers:
        own = vars(layer)
        for name, value in list(own.items()):
            if name.startswith("_"):
                continue
            if type(value) in _PLAIN:
                found.append((own, name, value, None))
            elif type(value) in (list, dict, deque):
                found.append((own, name, value, value.copy()))
    return found


def _restore(attributes: list[tuple[dict[str, Any], str, Any, Any]]) -> None:
    """Gives layers back what `_attributes` found."""
    for own, name, value, content in attributes:
        if own.get(name) is not value:
            own[name] = value
        if content is not None and _parts(value) != _parts(content):
            value.clear()
            if isinstance(value, dict):
                value.update(content)
            else:
                value.extend(content)


def _parts(value: Any) -> list[int]:
    """The objects that a container holds, in order."""
    return [id(part) for part in ([*value.keys(), *value.values()] if isinstance(value, dict) else value)]
