"""Room on disks: what to say where there is none, and byte counts in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from parity.errors import OutOfSpace

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the operating system that mean there is no room."""


def disk_full(path: Path, error: OSError) -> OutOfSpace:
    """The error to raise where writing to `path` found no room."""
    return OutOfSpace(
        f"the disk at {_mount_of(path)} has no room for {path}: {error.strerror or error}",
        hint="free some of it, or keep the traces elsewhere: --keep, XDG_CACHE_HOME; fewer --steps need less",
    )


def over_limit(what: str, limit: int) -> OutOfSpace:
    """The error to raise where `what` would take more than the user allows."""
    error = OutOfSpace(
        f"{what} would take more than the {size(limit)} that --max-disk leaves it",
        hint="allow more, or ask for fewer --steps",
    )
    error.slug = "max-disk"
    return error


def size(count: float) -> str:
    """Bytes in words: `12.3 MiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _mount_of(path: Path) -> Path:
    """Where the disk that holds a path is mounted."""
    path = Path(os.path.abspath(path))
    return next((folder for folder in (path, *path.parents) if os.path.ismount(folder)), path)
