"""What a run depended on besides its arguments: its own source files, the data it opened, the packages it loaded."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

MOST = 20_000
"""Files and folders that are noted; a run that opens more is not known well enough to be used again."""

_WRITES = os.O_WRONLY | os.O_RDWR


class Inputs(msgspec.Struct):
    """What must be unchanged for a run to come out the same.

    Attributes:
        sources: The script and every module outside the environment: path to SHA-256 of its content.
        files: Data that was read, and the packages' first files: path to size in bytes and time of change in ns.
        folders: Folders that were listed: path to SHA-256 of their entries' names.
        complete: Whether nothing was left out.
    """

    sources: dict[str, str] = {}
    files: dict[str, tuple[int, int]] = {}
    folders: dict[str, str] = {}
    complete: bool = True


def digest_of_file(path: str) -> str:
    """SHA-256 of a file's content; empty where it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def digest_of_folder(path: str) -> str:
    """SHA-256 of the names in a folder; empty where it cannot be listed."""
    try:
        return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode("utf-8", "surrogateescape")).hexdigest()
    except OSError:
        return ""


def state_of_file(path: str) -> tuple[int, int] | None:
    """Size in bytes and time of change in nanoseconds; None where there is no such file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


class Watch:
    """Notes which files this process opens from now on, by an audit hook, which stays for the process's life."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._listed: set[str] = set()
        self._on = True
        sys.addaudithook(self._heard)

    def _heard(self, event: str, args: Any) -> None:
        if not self._on or event not in ("open", "os.listdir", "os.scandir", "os.rename", "os.remove"):
            return
        path = args[0]
        if isinstance(path, (str, bytes, os.PathLike)) and len(self._read) + len(self._listed) <= MOST:
            name = os.path.abspath(os.fsdecode(path))
            if event == "open":
                writes = any(c in args[1] for c in "wax+") if isinstance(args[1], str) else bool(args[2] & _WRITES)
                (self._written if writes else self._read).add(name)
            elif event.endswith("dir"):
                self._listed.add(name)
            else:
                self._written.add(name)

    def inputs(self, script: Path) -> Inputs:
        """What the run of a script has depended on so far, as it is now."""
        self._on = False
        roots = (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(Path(__file__).parents[1]))
        outside = (*(os.path.realpath(root) + os.sep for root in roots), "/proc/", "/sys/", "/dev/")

        def own(path: str) -> bool:
            return not os.path.realpath(path).startswith(outside)

        found = Inputs(complete=len(self._read) + len(self._listed) <= MOST)
        found.sources[os.path.abspath(script)] = digest_of_file(str(script))
        for module in list(sys.modules.values()):
            file = _file(module)
            if file and own(file):
                found.sources[file] = digest_of_file(file)
            elif file and "." not in module.__name__:
                found.files[file] = state_of_file(file) or (0, 0)
        for path in self._read - self._written:
            state = state_of_file(path) if own(path) and path not in found.sources else None
            if state is not None:
                found.files[path] = state
        on_path = {os.path.abspath(p) for p in (*sys.path, str(script.resolve().parent))}
        for path in self._listed - on_path:
            if own(path) and not any(written.startswith(path + os.sep) for written in self._written):
                found.folders[path] = digest_of_folder(path)
        return found


def _file(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return os.path.abspath(file) if isinstance(file, str) and os.path.isfile(file) else None


def unchanged(inputs: Inputs) -> bool:
    """Whether everything that a run depended on is as it was."""
    return (
        inputs.complete
        and all(digest_of_file(path) == digest for path, digest in inputs.sources.items())
        and all(state_of_file(path) == state for path, state in inputs.files.items())
        and all(digest_of_folder(path) == digest for path, digest in inputs.folders.items())
    )
