"""The folder in which a comparison keeps its traces: the user's own, or one of the newest few in the cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parity.errors import UsageError

KEPT = 5
"""Runs that stay in the cache."""

_OWN = ("reference.trace", "candidate.trace", "comparison.json")


@contextmanager
def run_folder(keep: Path | None) -> Iterator[Path]:
    """A folder to work in, which stays afterwards.

    Args:
        keep: The folder that the user named; a fresh one in the cache where it is None.

    Raises:
        UsageError: The folder cannot be made or written, or holds something of the user's that would be lost.
    """
    if keep is not None:
        yield _named(keep)
        return
    folder = _fresh()
    with open(folder / ".lock", "wb") as lock:
        with suppress(OSError):  # a file system without locks: then nothing but the age protects the folder
            fcntl.flock(lock, fcntl.LOCK_EX)
        _forget_old(folder.parent)
        yield folder


def _named(keep: Path) -> Path:
    try:
        keep.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{keep} cannot be made: {error.strerror}", hint="check --keep") from None
    if not os.access(keep, os.W_OK | os.X_OK):
        raise UsageError(f"{keep} cannot be written to", hint="check --keep")
    ours = any((keep / name).exists() for name in _OWN)
    for made in (keep / "forced", keep / "batches"):
        if made.exists() and not ours:
            hint = "name another folder with --keep"
            raise UsageError(f"{made} exists and is not of an earlier comparison", hint=hint)
        shutil.rmtree(made, ignore_errors=True)
    (keep / "comparison.json").unlink(missing_ok=True)
    return keep.resolve()


def cache() -> Path:
    """The user's cache, where runs are kept."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"
    return root / "parity" / "runs"


def _fresh() -> Path:
    prefix = time.strftime("%Y%m%d-%H%M%S-")
    try:
        runs = cache()
        runs.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=runs))
    except OSError:  # no home, or a read-only one
        return Path(tempfile.mkdtemp(prefix=f"parity-{prefix}"))


def _forget_old(runs: Path) -> None:
    """Removes all but the newest runs, except those that are at work."""
    if runs != cache():
        return
    for folder in sorted((entry for entry in runs.iterdir() if entry.is_dir()), reverse=True)[KEPT:]:
        with suppress(OSError), open(folder / ".lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
