"""What a callable's signature says, held against the parameter lines of an entry."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterator
from typing import Any

from parity.entries import ABSENT, Entry

_EMPTY = inspect.Parameter.empty
_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_OF_EVERY_CELL = ("auto_prefix", "flags")


class Missing(Exception):
    """The installed framework has no such name."""


def resolve(name: str) -> Any:
    """The object that a full name means.

    Raises:
        Missing: There is none.
    """
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        try:
            for part in parts[cut:]:
                found = getattr(found, part)
        except AttributeError:
            break
        return found
    raise Missing(name)


def parameters(found: Any) -> list[tuple[str, Any]] | None:
    """Names and defaults (`ABSENT` for required ones) without `self`; None where no signature tells them.

    A primitive of MindSpore takes some at construction and the others at the call: both are listed.
    """
    function = _unwrapped(found.__init__) if inspect.isclass(found) else found
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    listed = list(signature.parameters.values())
    if inspect.isclass(found):
        listed = listed[1:]
    if any(base.__name__ == "Primitive" for base in getattr(found, "__mro__", ())):
        listed += [p for p in list(inspect.signature(found.__call__).parameters.values())[1:] if p.kind not in _OPEN]
    named = [p for p in listed if p.kind not in _OPEN and p.name not in _OF_EVERY_CELL]
    if not named and listed:
        return None
    return [(p.name, ABSENT if p.default is _EMPTY else p.default) for p in named]


def _unwrapped(function: Any) -> Any:
    """The constructor behind a decorator that hides its signature."""
    for cell in getattr(function, "__closure__", None) or ():
        inner = cell.cell_contents
        if inspect.isfunction(inner) and inner.__name__ == "__init__":
            return inner
    return function


def shown(default: Any) -> Any:
    """A default as an entry writes it: the value of a literal, else its `repr` without addresses and paths."""
    if default is ABSENT or default is None or type(default) in (bool, int, float, str):
        return default
    if isinstance(default, (tuple, list)) and repr(default) == repr(_literal(repr(default))):
        return default
    return re.sub(r" at 0x[0-9a-f]+| from '[^']*'", "", repr(default))


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def problems(entry: Entry, side: str) -> Iterator[str]:
    """What the installed framework's signature says otherwise than the entry.

    Args:
        entry: The entry.
        side: `reference` or `candidate`.
    """
    name = getattr(entry, side)
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        return  # torchvision and the like: nothing is there to hold the entry against
    try:
        found = resolve(name)
    except Missing:
        yield f"{name}: the installed version has no such name"
        return
    yield from _of_the_call(entry, side, found)
    actual = parameters(found)
    if actual is None or not entry.parameters:
        return
    rows = {
        getattr(row, side): getattr(row, f"{side}_default")
        for row in entry.parameters
        if getattr(row, side) is not None
    }
    method = ".Tensor." in name
    if method and (not actual or actual[0][0] != "self") and "self" in rows:
        actual = [("self", ABSENT), *actual]
    signature = dict(actual)
    for missing in signature.keys() - rows.keys():
        if not (entry.alias_of and missing in ("out", "name")):
            yield f"{name}: the signature has {missing}={shown(signature[missing])!r}, the entry does not"
    for row in rows.keys() - signature.keys():
        yield f"{name}: the entry has {row}, the signature does not"
    for row in rows.keys() & signature.keys():
        default = shown(signature[row])
        if not _equal(rows[row], default):
            yield f"{name}: {row} is {_said(default)}, the entry says {_said(rows[row])}"
    if side == "reference":
        common = [row for row in rows if row in signature]
        if common != [each for each in signature if each in rows]:
            yield f"{name}: the order of the parameters is {', '.join(signature)}"


def _of_the_call(entry: Entry, side: str, found: Any) -> Iterator[str]:
    function = getattr(found, "forward" if side == "reference" else "construct", None)
    if not entry.call or not inspect.isclass(found):
        return
    signature = dict((parameters(function) or [])[1:])
    names = [getattr(row, side) for row in entry.call if getattr(row, side) is not None]
    if set(names) != signature.keys():
        yield f"{getattr(entry, side)}: the call takes ({', '.join(signature)}), the entry says ({', '.join(names)})"
        return
    for row in entry.call:
        name, default = getattr(row, side), getattr(row, f"{side}_default")
        if name is not None and not _equal(default, shown(signature[name])):
            wrong = f"{_said(shown(signature[name]))}, the entry says {_said(default)}"
            yield f"{getattr(entry, side)}: {name} of the call is {wrong}"


def _said(default: Any) -> str:
    return "required" if default is ABSENT else f"{default!r} by default"


def _equal(entry: Any, actual: Any) -> bool:
    if entry is ABSENT or actual is ABSENT:
        return entry is actual
    return type(entry) is type(actual) and repr(entry) == repr(actual)
