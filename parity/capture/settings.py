"""Settings that a script keeps in objects: dataclasses, namespaces, named tuples, OmegaConf, classes of constants."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from parity.capture.configured import MOST, tree
from parity.capture.source import Source

_NAMED = re.compile(r"conf|cfg|args?$|params?$|opts?$|options|setting|hyper|hps?$|const", re.IGNORECASE)
"""Variables and classes whose names say that they hold settings; asked of what holds data as often."""

_OBJECTS = 256
"""Variables of one scope that are looked at."""

_PLAIN = (bool, int, float, str, type(None))


class Settings(NamedTuple):
    """One object that holds settings.

    Attributes:
        form: The name of its class, or of itself where it is a class.
        name: What the script calls it.
        value: The object.
        values: Its settings by name.
        given: Those that the script chose where it made the object, and that differ from the defaults.
    """

    form: str
    name: str
    value: Any
    values: dict[str, Any]
    given: list[str]


def settings(source: Source) -> list[Settings]:
    """The settings that hang at the script's variables now: global ones, and those of the functions that are running.

    Args:
        source: Knows the script's own files.
    """
    found: list[Settings] = []
    for name, value in _variables(source):
        if len(found) >= MOST or any(value is known.value for known in found):
            continue
        held = _held(name, value, source)
        values = tree(held[1]) if held is not None else None
        if held is not None and isinstance(values, dict) and _tells(values):
            found.append(Settings(held[0], name, value, values, [key for key in held[2] if key in values]))
    return found


def _variables(source: Source) -> Iterator[tuple[str, Any]]:
    main = sys.modules.get("__main__")
    scopes = [vars(main)] if main is not None else []
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if source.own(frame.f_code.co_filename) is not None and frame.f_code.co_name != "<module>":
            scopes.append(frame.f_locals)
        frame = frame.f_back
    for scope in scopes:
        for name, value in list(scope.items())[:_OBJECTS]:
            if not name.startswith("_") and not isinstance(value, (*_PLAIN, types.ModuleType, types.FunctionType)):
                yield name, value


def _held(name: str, value: Any, source: Source) -> tuple[str, dict[str, Any], list[str]] | None:
    """The class, the settings and the chosen names of an object that holds settings; None of all others."""
    kind = value if isinstance(value, type) else type(value)
    called = bool(_NAMED.search(name) or _NAMED.search(kind.__name__))
    if isinstance(value, type):
        plain = called and _own(kind, source) and not dataclasses.is_dataclass(kind) and _without_methods(kind)
        return (kind.__name__, _constants(kind), []) if plain else None
    if kind is types.SimpleNamespace:
        return (kind.__name__, vars(value), []) if called else None
    if kind.__module__.partition(".")[0] == "omegaconf" and hasattr(value, "items"):
        return kind.__name__, _mapping(value), []
    if not _own(kind, source):
        return None
    if dataclasses.is_dataclass(kind):
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        values = {key: getattr(value, key, None) for key in defaults}
    elif hasattr(kind, "__attrs_attrs__"):
        defaults = {field.name: field.default for field in kind.__attrs_attrs__}
        values = {key: getattr(value, key, None) for key in defaults}
    elif issubclass(kind, tuple) and hasattr(kind, "_fields") and called:
        defaults = {key: getattr(kind, "_field_defaults", {}).get(key) for key in kind._fields}
        values = dict(zip(kind._fields, value, strict=True))
    elif called and _without_methods(kind):
        return kind.__name__, _constants(kind) | getattr(value, "__dict__", {}), []
    else:
        return None
    given = [key for key, held in values.items() if type(held) in _PLAIN and _other(held, defaults[key])]
    return kind.__name__, values, given


def _other(value: Any, default: Any) -> bool:
    """Whether a plain value is not the default one."""
    return type(value) is not type(default) or bool(value != default)


def _without_methods(kind: type) -> bool:
    """Whether a class and its bases define nothing that can be called but special methods."""
    own = [base for base in kind.__mro__ if base is not object]
    return not any(callable(part) and not name.startswith("__") for base in own for name, part in vars(base).items())


def _mapping(value: Any) -> dict[str, Any]:
    """A configuration of OmegaConf as plain dictionaries."""
    return {str(key): _mapping(part) if hasattr(part, "items") else part for key, part in value.items()}


def _constants(kind: type) -> dict[str, Any]:
    """The plain values that a class and its bases define, the nearest one of each name."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        found.update({
            key: value for key, value in vars(base).items()
            if not key.startswith("_") and isinstance(value, (*_PLAIN, list, tuple, dict))
        })  # fmt: skip
    return found


def _own(kind: type, source: Source) -> bool:
    """Whether a class is the script's own."""
    if kind.__module__ == "__main__":
        return True
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return bool(file) and source.own(str(file)) is not None


def _tells(values: dict[str, Any]) -> bool:
    """Whether there are numbers among the settings."""
    return any(isinstance(leaf, (int, float)) and not isinstance(leaf, bool) for leaf in values.values())
