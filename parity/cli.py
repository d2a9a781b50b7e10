"""The command line: parses, runs, and gives every ending its exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import click

from parity.commands import Task, command, show
from parity.errors import Exit, ParityError, UsageError

BROKEN_PIPE = 128 + signal.SIGPIPE
"""Exit code where standard output has no reader any more, as a shell reports it of other programs."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    Args:
        argv: The words after the program's name; those of this process where it is None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    words, script_args = words[:cut], words[cut + 1 :]
    as_json = _asks_for_json(words)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _signals():
            return _guarded(words, script_args, as_json)
    except BrokenPipeError:
        return _without_reader()
    except Terminated as end:
        signal.signal(end.number, signal.SIG_DFL)
        os.kill(os.getpid(), end.number)
        raise  # not reached: the signal's default is death


def _guarded(words: list[str], script_args: list[str], as_json: bool) -> int:
    """Parses and runs; every error becomes its message and its exit code."""
    try:
        task = _parse(words, script_args)
        return task() if callable(task) else task
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "parity"
        return _fail(UsageError(error.format_message(), hint=f"{path} --help"), as_json)
    except ParityError as error:
        return _fail(error, as_json)
    except KeyboardInterrupt as interrupt:
        folder = getattr(interrupt, "folder", None)
        kept = folder is not None and (folder.name.endswith(".trace.partial") or any(folder.glob("*.trace*")))
        hint = f"what was captured is kept in {folder}" if kept else None
        return _fail(_named("interrupted", "interrupted", hint), as_json, Exit.INTERRUPTED)
    except BrokenPipeError:
        raise
    except OSError as failure:
        from parity.space import FULL, disk_full

        if failure.errno in FULL:
            return _fail(disk_full(Path(failure.filename or "."), failure), as_json)
        what = f"{failure.filename or 'a file'} cannot be read or written: {failure.strerror or failure}"
        return _fail(_named("file", what, None), as_json)
    except Exception as failure:  # Python would exit with 1 here, and 1 means "diverged"
        traceback.print_exc()
        what = f"parity itself failed: {type(failure).__name__}: {failure}"
        return _fail(_named("internal", what, "please report it, with the traceback above"), as_json)


def _named(slug: str, message: str, hint: str | None) -> ParityError:
    error = ParityError(message, hint=hint)
    error.slug = slug
    return error


def _parse(words: list[str], script_args: list[str]) -> Task | int:
    """What the command line asks for; an exit code where it was --help or --version and is done."""
    try:
        parsed: Task | int | None = command.main(words, "parity", standalone_mode=False, obj=script_args)
    except SystemExit:
        raise BrokenPipeError from None  # click ends so where the reader of a help text has gone
    except click.Abort:
        raise KeyboardInterrupt from None
    return parsed if parsed is not None else Exit.MATCH


def _asks_for_json(words: list[str]) -> bool:
    """Whether JSON was asked for, even by a command line that cannot be parsed."""
    return "--format=json" in words or ("--format", "json") in pairwise(words)


def _fail(error: ParityError, as_json: bool, code: Exit = Exit.ERROR) -> int:
    from parity.console import Console
    from parity.report.json import dumps, error_document
    from parity.report.terminal import safe_lines

    console = Console()
    console.say(safe_lines(f"error: {error.message}"))
    if error.hint:
        console.say(safe_lines(f"hint: {error.hint}"))
    if as_json:
        show(dumps(error_document(error)))
    return code


def _without_reader() -> int:
    """Ends quietly: Python must not find the broken stream again when it flushes at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return BROKEN_PIPE


@contextmanager
def _signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP unwind the program, so that the scripts it runs are ended first."""

    def arrived(number: int, frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    caught: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(each) is not signal.SIG_IGN:
                caught[each] = signal.signal(each, arrived)
    try:
        yield
    finally:
        for each, before in caught.items():
            signal.signal(each, before)
