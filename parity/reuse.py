"""References captured before: a script that is unchanged, in an unchanged environment, is not run again."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

import parity
from parity.capture.inputs import Inputs, digest_of_file, state_of_file, unchanged
from parity.options import Subject
from parity.runs import cache

KEPT = 4
"""References that stay in the cache."""

LIMIT = 16 * 2**30
"""Bytes that they may take together."""

_VOLATILE = (
    "_", "COLUMNS", "LINES", "OLDPWD", "PWD", "PYTEST_CURRENT_TEST", "SHLVL", "SSH_", "TERM", "TMUX", "WINDOWID",
    "XDG_SESSION",
)  # fmt: skip
"""Environment variables, by the beginning of their names, that differ from shell to shell and change no result."""


class Asked(NamedTuple):
    """What is asked of a reference's capture.

    Attributes:
        steps: How many training steps.
        sampled: Those of them that are followed closely; None for all.
        batches: How many batches of each loader are read alone.
    """

    steps: int
    sampled: list[int] | None = None
    batches: int = 200


class References:
    """The references in the user's cache, by what they were captured from."""

    def __init__(self) -> None:
        self.folder = cache().parent / "references"

    def find(self, subject: Subject, asked: Asked, into: Path) -> float | None:
        """Puts the trace of an unchanged reference in its place.

        Args:
            subject: The reference's script.
            asked: What is asked of its capture.
            into: Where the trace is wanted; nothing stands there.

        Returns:
            Seconds since the epoch at which it was captured; None where it must be captured anew.
        """
        entry = self.folder / _key(subject, asked)
        try:
            inputs = msgspec.json.decode((entry / "inputs.json").read_bytes(), type=Inputs)
            captured = (entry / "inputs.json").stat().st_mtime
            if not unchanged(inputs):
                return None
            _link(entry / "reference.trace", into)
            os.utime(entry)
        except (OSError, msgspec.MsgspecError):
            shutil.rmtree(into, ignore_errors=True)
            return None
        return captured

    def keep(self, subject: Subject, asked: Asked, trace: Path, inputs: Path) -> None:
        """Keeps a trace that was captured just now, and forgets the oldest ones. A full disk is no error here."""
        with suppress(OSError, shutil.Error):
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self.folder))
            try:
                _link(trace, fresh / "reference.trace")
                shutil.move(inputs, fresh / "inputs.json")
                entry = self.folder / _key(subject, asked)
                shutil.rmtree(entry, ignore_errors=True)
                fresh.rename(entry)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            self._forget_old()

    def _forget_old(self) -> None:
        total = 0
        entries = sorted(self.folder.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for number, entry in enumerate(entries):
            if entry.name.startswith("new-") and time.time() - entry.stat().st_mtime < 3600:
                continue  # another run is at work on it
            total += sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
            if number >= KEPT or total > LIMIT:
                shutil.rmtree(entry, ignore_errors=True)


def _key(subject: Subject, asked: Asked) -> str:
    """What is known before the script runs: its path and content, arguments, folder, interpreter and environment."""
    python = shutil.which(subject.python) or subject.python
    variables = {k: v for k, v in os.environ.items() if not k.startswith(_VOLATILE)}
    script = os.path.abspath(subject.path)
    known = [
        parity.__version__, _recorder(), str(subject.path), script, digest_of_file(script), subject.args,
        os.path.realpath(subject.cwd), os.path.abspath(python), state_of_file(python), asked,
        sorted(variables.items()),
    ]  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(known)).hexdigest()[:32]


@functools.cache
def _recorder() -> str:
    """Digest of the source that makes traces: one of another version may have made other ones."""
    root = Path(__file__).parent
    hasher = hashlib.sha256()
    for path in [root / "trace.py", root / "model.py", root / "samples.py", *sorted((root / "capture").rglob("*.py"))]:
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def _link(source: Path, target: Path) -> None:
    """Copies a trace without taking its space twice, where the file system can do that; no file of it ever changes."""

    def link(mine: str, theirs: str) -> None:
        try:
            os.link(mine, theirs)
        except OSError:
            shutil.copy2(mine, theirs)

    shutil.copytree(source, target, copy_function=link)
