"""Which source files are the script's own, and where in them the program stands."""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any


def readable(name: str) -> str:
    """A text that any encoding can take: what is no character is shown as an escape."""
    return name.encode("utf-8", "backslashreplace").decode()


_TRAINS = re.compile(
    rb"optim|backward|TrainOneStep|Trainer|GradOperation|value_and_grad|\b(?:grad|vjp|jvp)\(|\.fit\(|\.train\((?!\s*False)"
)
"""Words without which a script trains nothing."""


@functools.lru_cache(maxsize=16)
def parsed(file: str) -> ast.Module | None:
    """A file's syntax tree, not to be changed; None where it cannot be read or parsed."""
    try:
        return ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def package_of(script: Path) -> tuple[Path, str | None]:
    """The folder of a script's own files, and the package as a module of which it must run, as `python -m` does.

    Args:
        script: Path of the `.py` file.

    Returns:
        The outermost folder of the package that it stands in, else its folder; the dotted name of the package that its
        relative imports start from, None where it has none.
    """
    script = script.resolve()
    levels = 0
    while levels + 2 < len(script.parents) and (script.parents[levels] / "__init__.py").is_file():
        levels += 1
    tree = parsed(str(script))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)] if tree is not None else []
    relative = max((node.level for node in imports), default=0)
    levels = min(max(levels, relative), len(script.parents) - 1)
    if not levels:
        return script.parent, None
    name = ".".join(folder.name for folder in reversed(script.parents[:levels]))
    return script.parents[levels - 1], name if relative else None


class Source:
    """Tells the script's own files (those in its folder or package, outside any environment) from all others.

    Args:
        script: The script that runs as `__main__`.
    """

    def __init__(self, script: Path) -> None:
        self.script = script.resolve()
        self.folder = self.script.parent
        self._root, _ = package_of(script)
        self._own: dict[str, str | None] = {}
        self._texts: dict[str, dict[tuple[int, str], list[str]]] = {}
        self._outside = {Path(p).resolve() for key, p in sysconfig.get_paths().items() if "lib" in key}
        self._outside.add(Path(__file__).resolve().parents[1])

    def own(self, filename: str) -> str | None:
        """The file's path relative to the script's folder, or None where it is not the script's own."""
        known = self._own.get(filename, "")
        if known != "":
            return known
        name: str | None = None
        if filename and not filename.startswith("<"):
            path = Path(filename).resolve()
            inside = path.is_relative_to(self._root) and "site-packages" not in path.parts
            if inside and not any(path.is_relative_to(folder) for folder in self._outside):
                name = readable(os.path.relpath(path, self.folder))
        self._own[filename] = name
        return name

    def trains(self) -> bool:
        """Whether the script, or a module of its own that is loaded by now, speaks of training at all."""
        files = {str(self.script), *(str(getattr(module, "__file__", "")) for module in [*sys.modules.values()])}
        return any(_TRAINS.search(Path(f).read_bytes()) for f in files if self.own(f) is not None and Path(f).is_file())

    def here(self) -> tuple[str | None, int | None]:
        """File and line of the innermost frame in the script's own files."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = self.own(frame.f_code.co_filename)
            if name is not None:
                return name, frame.f_lineno
            frame = frame.f_back
        return None, None

    def call(self, file: str | None, line: int | None, name: str) -> str | None:
        """The text of the only call of a class or function on a line of the script's own files.

        Args:
            file: Path relative to the script's folder.
            line: Where the call begins.
            name: The bare name of what is called.
        """
        if file is None or line is None:
            return None
        if file not in self._texts:
            self._texts[file] = _calls_of(self.folder / file)
        found = self._texts[file].get((line, name), [])
        return found[0] if len(found) == 1 else None

    def assigned(self, name: str) -> tuple[str | None, int | None]:
        """Where the script first gives a global name a value."""
        tree = parsed(str(self.script))
        if tree is None:
            return None, None
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id == name]
        line = min((n.lineno for n in names), default=None)
        return (self.own(str(self.script)), line) if line is not None else (None, None)

    def caller(self) -> tuple[str | None, int | None]:
        """File and line of the function that called the caller of this, where it is the script's own."""
        frame = sys._getframe(2)
        name = self.own(frame.f_code.co_filename)
        return (name, frame.f_lineno) if name is not None else (None, None)

    def called(self, value: Any) -> str | None:
        """What the script calls an object: a local or global variable, or an attribute of `self`, that holds it."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if self.own(frame.f_code.co_filename) is not None:
                for scope in (frame.f_locals, frame.f_globals):
                    for name, held in list(scope.items()):
                        if held is value and not name.startswith("_") and name != "self":
                            return str(name)
                holder = frame.f_locals.get("self")
                for name, held in list(getattr(holder, "__dict__", {}).items()):
                    if held is value:
                        return str(name)
            frame = frame.f_back
        main = sys.modules.get("__main__")
        for name, held in list(vars(main).items()) if main else ():
            if held is value:
                return name
        return None

    def attribute(self, value: Any) -> str | None:
        """The attribute under which an object hangs in a variable of the script's."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if self.own(frame.f_code.co_filename) is not None:
                for scope in (frame.f_locals, frame.f_globals):
                    for holder in list(scope.values()):
                        name = _inside(holder, value)
                        if name is not None:
                            return name
            frame = frame.f_back
        return None


def _inside(holder: Any, value: Any) -> str | None:
    """The name of an object among another one's attributes and layers."""
    own = getattr(holder, "__dict__", None)
    if not isinstance(own, dict):
        return None
    for part in (own, own.get("_modules"), own.get("_cells")):
        for name, held in list(part.items()) if isinstance(part, dict) else ():
            if held is value:
                return str(name)
    return None


def _calls_of(path: Path) -> dict[tuple[int, str], list[str]]:
    """Every call in a file by its first line and the bare name of what is called."""
    found: dict[tuple[int, str], list[str]] = defaultdict(list)
    tree = parsed(str(path))
    if tree is None:
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            lines = {node.lineno, node.func.end_lineno or node.lineno}  # the last of a chain of methods has its own
            for line in lines:
                found[(line, name)].append(ast.unparse(node))
    return dict(found)
