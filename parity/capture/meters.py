"""Metric objects: what they are given and what they answer, told to the session.

A metric object is told by its methods: `update`, and `eval` or `compute`. The classes of `mindspore.train`,
torchmetrics and Ignite are followed, and those of the script's own files.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from parity.capture.frameworks.base import Made
from parity.capture.frameworks.describe import bound_arguments

ANSWERS = ("eval", "compute", "result")
"""How a metric object is asked for its value."""

FORGETS = ("clear", "reset", "reset_states")
"""How it is told to begin anew."""

LIBRARIES = ("torchmetrics", "ignite.metrics")
"""Modules after whose import their `Metric` and all its subclasses are followed."""

LONGEST = 1 << 20
"""Elements of what one metric object is given that are kept."""

NUMBERS = 4096
"""Numbers of an answer; what has more is no metric."""


class Meter:
    """One metric object between two of its beginnings.

    Attributes:
        metric: The object.
        made: Its constructor's arguments.
        given: What each `update` was given, by argument.
        kept: Whether all of that is in `given`.
    """

    def __init__(self, metric: Any, made: Made) -> None:
        self.metric = metric
        self.made = made
        self.clear()

    def clear(self) -> None:
        """Forgets what it was given."""
        self.given: list[list[np.ndarray]] = []
        self.size = 0
        self.kept = True

    def add(self, arrays: list[np.ndarray]) -> None:
        """Notes one update."""
        self.size += sum(array.size for array in arrays)
        self.kept &= self.size <= LONGEST and (not self.given or len(arrays) == len(self.given))
        if not self.kept:
            self.given = []
            return
        self.given = self.given or [[] for _ in arrays]
        for column, array in zip(self.given, arrays, strict=True):
            column.append(array)

    def inputs(self) -> list[np.ndarray]:
        """All that it was given, the updates one after the other; empty where that cannot be said."""
        joined = []
        for column in self.given:
            rows = [np.atleast_1d(array) for array in column]
            if len({row.shape[1:] for row in rows}) > 1:
                return []
            joined.append(np.concatenate(rows))
        return joined


class Meters:
    """Follows metric classes in this process.

    Args:
        session: Gives the present session.
    """

    def __init__(self, session: Callable[[], Any]) -> None:
        self._session = session
        self._meters: dict[int, Meter] = {}
        self._owner: Any = None
        self._active: set[int] = set()
        self._seen: set[type] = set()
        self._wrapped: set[Any] = set()
        self._build = builtins.__build_class__

    def follow_scripts(self) -> None:
        """Follows the metric classes that the script's own files define from now on."""
        build = self._build

        def wrapped(body: Any, name: str, *bases: Any, **words: Any) -> Any:
            made = build(body, name, *bases, **words)
            session = self._session()
            file = getattr(getattr(body, "__code__", None), "co_filename", "")
            if session is not None and isinstance(made, type) and session.source.own(file) is not None:
                self.follow(made, library=False)
            return made

        builtins.__build_class__ = wrapped  # type: ignore[assignment]

    def follow_all(self, kind: type) -> None:
        """Follows a class and all its present subclasses."""
        self.follow(kind, library=True)
        children: list[type] = type.__subclasses__(kind)
        for child in children:
            self.follow_all(child)

    def follow(self, kind: type, library: bool) -> None:
        """Follows one class, where it is one of metrics."""
        if kind in self._seen or not callable(getattr(kind, "update", None)):
            return
        if not any(callable(getattr(kind, name, None)) for name in ANSWERS):
            return
        self._seen.add(kind)
        wraps = {"__init__": self._constructs, "update": self._updates}
        wraps |= {name: functools.partial(self._answers, library=library) for name in ANSWERS}
        wraps |= dict.fromkeys(FORGETS, self._forgets)
        for name, wrap in wraps.items():
            method = inspect.getattr_static(kind, name, None)
            if isinstance(method, types.FunctionType) and method not in self._wrapped:
                wrapped = functools.wraps(method)(wrap(method))
                self._wrapped.add(wrapped)
                setattr(kind, name, wrapped)

    def _meter(self, metric: Any) -> Meter:
        session = self._session()
        if session is not self._owner:
            self._owner = session
            self._meters.clear()
        known = self._meters.get(id(metric))
        if known is None:
            known = self._meters[id(metric)] = Meter(metric, Made(None, None, {}, []))
        return known

    def _hears(self) -> bool:
        session = self._session()
        return session is not None and session.meters and not (session.finished or session.busy)

    def _constructs(self, method: Any) -> Any:
        def wrapped(metric: Any, *args: Any, **words: Any) -> Any:
            if self._hears() and id(metric) not in self._active:
                session = self._session()
                is_tensor = session.adapter.is_tensor if session.adapter is not None else lambda _: False
                arguments, given = bound_arguments(method, args, words, is_tensor)
                self._meters.pop(id(metric), None)
                file, line = session.source.here()
                self._meter(metric).made = Made(file, line, arguments, given)
            return self._inside(metric, method, args, words)

        return wrapped

    def _updates(self, method: Any) -> Any:
        def wrapped(metric: Any, *args: Any, **words: Any) -> Any:
            if self._hears() and id(metric) not in self._active and self._session().adapter is not None:
                session = self._session()
                session.busy = True
                try:
                    self._meter(metric).add(list(_arrays([*args, *words.values()], session.adapter)))
                finally:
                    session.busy = False
            return self._inside(metric, method, args, words)

        return wrapped

    def _answers(self, method: Any, library: bool) -> Any:
        def wrapped(metric: Any, *args: Any, **words: Any) -> Any:
            outermost = id(metric) not in self._active
            answer = self._inside(metric, method, args, words)
            if outermost and self._hears() and id(metric) in self._meters and self._meter(metric).size:
                session = self._session()
                session.busy = True
                try:
                    values = dict(_named("", answer, session.adapter))
                finally:
                    session.busy = False
                if values and sum(v.size for v in values.values()) <= NUMBERS:
                    meter = self._meter(metric)
                    session.metered(meter.metric, meter.made, meter.inputs(), values, library)
            return answer

        return wrapped

    def _forgets(self, method: Any) -> Any:
        def wrapped(metric: Any, *args: Any, **words: Any) -> Any:
            if self._hears() and id(metric) not in self._active:
                self._meter(metric).clear()
            return self._inside(metric, method, args, words)

        return wrapped

    def _inside(self, metric: Any, method: Any, args: Any, words: Any) -> Any:
        """Calls a method; what the object calls of itself meanwhile is not followed."""
        entered = id(metric) not in self._active
        self._active.add(id(metric))
        try:
            return method(metric, *args, **words)
        finally:
            if entered:
                self._active.discard(id(metric))


def _arrays(values: Any, adapter: Any) -> Iterator[np.ndarray]:
    for _, array in _named("", values, adapter):
        yield array


def _named(name: str, value: Any, adapter: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The numbers in a nest of tensors, arrays, lists and dictionaries, by their place in it."""
    if adapter.is_tensor(value):
        array, _ = adapter.read(value)
        if array.dtype.kind in "fiub":
            yield name, array
    elif isinstance(value, (np.ndarray, np.generic, bool, int, float)):
        array = np.array(value)
        if array.dtype.kind in "fiub":
            yield name, array
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _named(f"{name}.{key}" if name else str(key), part, adapter)
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value[:NUMBERS]):
            yield from _named(f"{name}.{number}" if name else str(number), part, adapter)
