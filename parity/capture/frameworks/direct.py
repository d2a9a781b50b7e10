"""Layers whose `forward` or `construct` a script calls without calling the layer: followed like any other call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any


def follow_direct(adapter: Any, kind: type, name: str, hidden: Callable[[], bool] = lambda: False) -> None:
    """Makes direct calls of a layer's method seen, where the script's own classes define it.

    Args:
        adapter: The adapter, whose present session hears of the calls.
        kind: The class of a layer that is being made.
        name: The method: `forward` or `construct`.
        hidden: Whether no call can be followed just now.
    """
    for owner in kind.__mro__:
        method = vars(owner).get(name)
        if not isinstance(method, FunctionType) or hasattr(method, "_parity_followed"):
            continue
        written = inspect.unwrap(method)
        if isinstance(written, FunctionType) and adapter.session.source.own(written.__code__.co_filename) is not None:
            setattr(owner, name, _followed(adapter, method, hidden))


def _followed(adapter: Any, method: FunctionType, hidden: Callable[[], bool]) -> Any:
    @functools.wraps(method)
    def wrapped(layer: Any, *args: Any, **kwargs: Any) -> Any:
        session = adapter.session
        called = session is None or any(frame.layer is layer for frame in session.stack)
        if called or hidden() or adapter.is_wrapper(layer) or not session.hears(adapter) or not session.wants(layer):
            return method(layer, *args, **kwargs)
        args, kwargs = session.enter(layer, args, kwargs)
        try:
            output = method(layer, *args, **kwargs)
        except BaseException:
            session.abandon()
            raise
        return session.leave(layer, output)

    wrapped._parity_followed = True  # type: ignore[attr-defined]
    return wrapped
