"""Turns the words of a command line into paths, numbers and stages, or says what is wrong with them."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import overload

from parity.document import STAGES
from parity.errors import UsageError
from parity.options import Subject, is_trace_name


def subject(
    side: str, name: str, python: str | None, cwd: str | None, args: tuple[str, ...], *, script_only: bool = False
) -> Subject:
    """One side of a comparison, checked as far as it can be without running it.

    Raises:
        UsageError: No such file, folder or interpreter, or neither a script nor a trace.
    """
    path = Path(name)
    folder = Path(cwd) if cwd is not None else Path.cwd()
    if not path.exists():
        raise UsageError(f"{name} does not exist", hint=f"check the path of the {side}", side=side)
    if is_trace_name(path) and not script_only:
        return Subject(path, args, sys.executable, folder)
    if path.is_dir():
        raise UsageError(f"{name} is a folder", hint=f"name the script in it that trains, as the {side}", side=side)
    if path.suffix != ".py" or not path.is_file():
        kinds = "a script (.py)" if script_only else "a script (.py) or a trace (.trace)"
        raise UsageError(f"{name} is not {kinds}", hint=f"check the {side}", side=side)
    if not os.access(path, os.R_OK):
        raise UsageError(f"{name} cannot be read", hint="check its permissions", side=side)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint=f"check the folder to run the {side} in", side=side)
    if python is not None and shutil.which(python) is None:
        raise UsageError(f"{python} is not an interpreter", hint=f"check the {side}'s interpreter", side=side)
    return Subject(path, args, python or sys.executable, folder)


def stages(flag: str, text: str) -> tuple[str, ...]:
    """A comma-separated list of stages.

    Raises:
        UsageError: There is no such stage.
    """
    names = tuple(filter(None, (word.strip() for word in text.split(","))))
    for name in names:
        if name not in STAGES:
            raise UsageError(f"{flag}: there is no stage {name}", hint=f"the stages are {', '.join(STAGES)}")
    return names


@overload
def number(flag: str, value: float, *, positive: bool = False) -> float: ...


@overload
def number(flag: str, value: None, *, positive: bool = False) -> None: ...


def number(flag: str, value: float | None, *, positive: bool = False) -> float | None:
    """A finite number that is not negative, or, if so asked, not 0 either; None is handed on.

    Raises:
        UsageError: It is something else.
    """
    if value is None:
        return None
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise UsageError(f"{flag}: {value:g} is not a {'positive' if positive else 'non-negative'} number")
    return value


def byte_count(flag: str, text: str | None) -> int | None:
    """A number of bytes, such as `500M` or `2G` (1024 based); None is handed on.

    Raises:
        UsageError: It is something else.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    count = float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ") if found else 0.0
    if not 0 < count < 2**63:
        raise UsageError(f"{flag}: {text} is no size", hint="write it like 500M or 20G")
    return int(count)


def split(flag: str, text: str) -> list[str]:
    """A script's arguments, quoted as for a shell.

    Raises:
        UsageError: A quotation is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}", hint="quote the arguments as for a shell") from None


def output_file(name: str) -> Path:
    """A report to be written, checked before anything runs.

    Raises:
        UsageError: Its kind is not one that this version writes, or it cannot be written there.
    """
    path = Path(name)
    if path.suffix != ".json":
        raise UsageError(f"-o {name}: this version writes .json", hint="name a file that ends in .json")
    return _writable(path, name)


def trace_file(name: str) -> Path:
    """A trace to be written, checked before anything runs.

    Raises:
        UsageError: It is not called `.trace`, or it cannot be written there.
    """
    path = Path(name)
    if path.suffix != ".trace":
        raise UsageError(f"-o {name}: a trace is called NAME.trace", hint="name an output that ends in .trace")
    _writable(path, name, folder=True)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".parity-", dir=path.parent))
    except OSError as error:
        raise UsageError(
            f"-o {name}: nothing can be written there: {error.strerror}", hint="name another folder"
        ) from None
    return path


def _writable(path: Path, name: str, *, folder: bool = False) -> Path:
    if not path.parent.is_dir():
        raise UsageError(f"-o {name}: there is no folder {path.parent}", hint="make the folder first")
    if path.is_dir() and not folder:
        raise UsageError(f"-o {name}: it is a folder", hint="name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"-o {name}: nothing can be written to {path.parent}", hint="name another folder")
    return path
