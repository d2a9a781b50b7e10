"""Which source files are the script's own, and where in them the program stands."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import Any


class Source:
    """Tells the script's own files (those in its folder, outside any environment) from all others.

    Args:
        script: The script that runs as `__main__`.
    """

    def __init__(self, script: Path) -> None:
        self.folder = script.resolve().parent
        self._own: dict[str, str | None] = {}
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
            inside = path.is_relative_to(self.folder) and "site-packages" not in path.parts
            if inside and not any(path.is_relative_to(folder) for folder in self._outside):
                name = str(path.relative_to(self.folder))
        self._own[filename] = name
        return name

    def here(self) -> tuple[str | None, int | None]:
        """File and line of the innermost frame in the script's own files."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = self.own(frame.f_code.co_filename)
            if name is not None:
                return name, frame.f_lineno
            frame = frame.f_back
        return None, None

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
