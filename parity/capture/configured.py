"""What a script reads its settings from: command-line options (argparse) and configuration files (JSON, YAML, TOML)."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from parity.capture.run import ImportHook
from parity.capture.source import Source, readable

MOST = 16
"""Configurations of one script that are noted; what it reads beyond them is data."""

LARGEST = 1000
"""Values of one configuration; a larger document is data."""

DEEPEST = 8
"""Levels of nesting that are followed."""

Configured = Callable[[str, Any, dict[str, Any], list[str]], None]
"""Takes a configuration: its file or format, the object itself, its values, and the options that were given."""

_READERS = {
    "json": ("load", "loads"),
    "yaml": ("load", "safe_load", "full_load", "unsafe_load"),
    "tomllib": ("load", "loads"),
    "tomli": ("load", "loads"),
    "toml": ("load", "loads"),
}
_FORMATS = {"tomllib": "toml", "tomli": "toml"}


class Configurations:
    """While it is entered, what the script's own files parse or load is told; then all is as it was.

    Args:
        source: Knows the script's own files.
        tell: Takes each configuration.
    """

    def __init__(self, source: Source, tell: Configured) -> None:
        self._source = source
        self._tell = tell
        self._count = 0
        self._replaced: list[tuple[Any, str, Any]] = []
        self._hook = ImportHook({name: functools.partial(self._wrap, name) for name in _READERS})

    def __enter__(self) -> None:
        for name in _READERS:
            if name in sys.modules:
                self._wrap(name)
        sys.meta_path.insert(0, self._hook)
        parse = argparse.ArgumentParser.parse_known_args
        parser = argparse.ArgumentParser

        @functools.wraps(parse)
        def wrapped(this: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            words = [str(a) for a in (sys.argv[1:] if args is None else args)]
            known = parse(this, args, namespace)
            self._parsed(this, known[0], words)
            return known

        self._replace(parser, "parse_known_args", wrapped)

    def __exit__(self, *_: object) -> None:
        if self._hook in sys.meta_path:
            sys.meta_path.remove(self._hook)
        for owner, name, value in reversed(self._replaced):
            setattr(owner, name, value)
        self._replaced.clear()

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _parsed(self, parser: argparse.ArgumentParser, namespace: Any, words: list[str]) -> None:
        if self._source.here()[0] is None or not hasattr(namespace, "__dict__"):
            return
        options = {word.partition("=")[0] for word in words}
        given = [a.dest for a in parser._actions if not a.option_strings or options & set(a.option_strings)]
        values = tree(vars(namespace))
        if isinstance(values, dict):
            self._note("argparse", namespace, values, [name for name in given if name in values])

    def _wrap(self, module: str) -> None:
        loaded = sys.modules[module]
        for name in _READERS[module]:
            read = getattr(loaded, name, None)
            if read is not None:
                self._replace(loaded, name, self._reading(_FORMATS.get(module, module), read))

    def _reading(self, form: str, read: Any) -> Any:
        @functools.wraps(read)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            value = read(*args, **kwargs)
            if isinstance(value, dict) and self._count < MOST and self._source.caller()[0] is not None:
                values = tree(value)
                if isinstance(values, dict):
                    name = getattr(args[0], "name", None) if args else None
                    self._note(readable(os.path.basename(name)) if isinstance(name, str) else form, value, values, [])
            return value

        return wrapped

    def _note(self, form: str, value: Any, values: dict[str, Any], given: list[str]) -> None:
        if self._count < MOST:
            self._count += 1
            self._tell(form, value, values, given)


def tree(value: Any) -> Any:
    """A nest of dicts and lists with plain leaves, as JSON can hold it; None where it is too large for settings.

    What is neither a number, a text nor nothing is left out, as the name of its class.
    """
    left = [LARGEST]

    def plain(item: Any, depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OverflowError
        if isinstance(item, np.generic):
            item = item.item()
        if item is None or isinstance(item, (bool, int, float)):
            return item if not isinstance(item, int) or abs(item) < 2**63 else str(item)
        if isinstance(item, str):
            return readable(item[:200])
        if depth and isinstance(item, dict):
            return {readable(str(k)): plain(v, depth - 1) for k, v in item.items()}
        if depth and isinstance(item, (list, tuple)):
            return [plain(v, depth - 1) for v in item]
        if depth and isinstance(item, argparse.Namespace):
            return plain(vars(item), depth)
        return type(item).__name__

    try:
        return plain(value, DEEPEST)
    except OverflowError:
        return None
