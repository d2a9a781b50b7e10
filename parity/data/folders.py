"""Folders of arrays: `.npy` and `.npz` files, opened without unpickling, read from disk where they are asked for."""

from __future__ import annotations

import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parity.errors import ParityError, UsageError

_NUMBER = re.compile(r"\d+")
_DAMAGE = (
    ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError,
    NotImplementedError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy and zipfile raise for damaged files."""


class ArrayError(ParityError):
    """A file of arrays cannot be read: damaged, not what its name says, or with objects in it."""

    slug = "bad-array"


class Folder:
    """The arrays of a folder and of those below it, by name; those of `batch_0.npz` are `batch_0/image` and so on.

    Args:
        path: The folder.
        side: `reference` or `candidate`, for the messages.

    Raises:
        UsageError: It is not a folder, or cannot be read.
        ArrayError: A file in it is damaged or holds objects.
    """

    def __init__(self, path: Path, side: str) -> None:
        if not path.exists():
            raise UsageError(f"{path} does not exist", hint=f"check the folder of the {side}", side=side)
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder", hint="name a folder of .npy or .npz files", side=side)
        if not os.access(path, os.R_OK | os.X_OK):
            raise UsageError(f"{path} cannot be read", hint="check its permissions", side=side)
        self.path = path
        self.side = side
        self._places: dict[str, tuple[Path, str | None]] = {}
        for name, place in self._find():
            self._places.setdefault(name, place)
        for name in self._places:
            self.array(name)

    def _find(self) -> Iterator[tuple[str, tuple[Path, str | None]]]:
        for file in sorted(self.path.rglob("*")):
            if file.suffix not in (".npy", ".npz") or not file.is_file():
                continue
            name = file.relative_to(self.path).with_suffix("").as_posix()
            if file.suffix == ".npy":
                yield name, (file, None)
                continue
            for member in self._members(file):
                yield f"{name}/{member}", (file, member)

    def _members(self, file: Path) -> list[str]:
        try:
            with zipfile.ZipFile(file) as archive:
                return sorted(n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy"))
        except _DAMAGE as error:
            raise self._broken(file, error) from None

    @property
    def names(self) -> list[str]:
        """The names of all arrays, numbers in them by their value."""
        return sorted(self._places, key=_natural)

    def array(self, name: str) -> np.ndarray:
        """An array; mapped from disk where the file is a `.npy`.

        Raises:
            ArrayError: The file is damaged, or holds objects.
        """
        file, member = self._places[name]
        try:
            if member is None:
                values = np.load(file, mmap_mode="r", allow_pickle=False) if file.stat().st_size else None
            else:
                with np.load(file, allow_pickle=False) as archive:
                    values = archive[member]
        except _DAMAGE as error:
            raise self._broken(file, error, member) from None
        if not isinstance(values, np.ndarray):
            raise self._broken(file, ValueError("it holds no array"), member)
        if values.dtype.hasobject:
            raise self._broken(file, ValueError("Object arrays cannot be loaded"), member)
        return values

    def _broken(self, file: Path, error: BaseException, member: str | None = None) -> ArrayError:
        where = f"{file}, array {member}" if member else str(file)
        if "bject array" in str(error) or "pickle" in str(error).lower():
            return ArrayError(
                f"{where} holds Python objects, which only unpickling could read",
                hint="save it as an array of numbers: np.save(file, np.asarray(values, dtype=np.float32))",
                side=self.side,
            )
        reason = str(error).partition("\n")[0] or type(error).__name__
        return ArrayError(f"{where} cannot be read: {reason}", hint="write the file again", side=self.side)


def pair_names(reference: list[str], candidate: list[str]) -> list[tuple[str | None, str | None]]:
    """Names of both sides that mean the same array: equal but for leading zeros, hyphens and the case."""
    left = {_canonical(name): name for name in reversed(candidate)}
    exact = set(candidate)
    pairs: list[tuple[str | None, str | None]] = []
    taken: set[str] = set()
    for name in reference:
        other = name if name in exact else left.get(_canonical(name))
        other = None if other in taken else other
        pairs.append((name, other))
        if other is not None:
            taken.add(other)
    return pairs + [(None, name) for name in candidate if name not in taken]


def series(name: str) -> str:
    """What the names of one column's batches have in common: `image_0012` and `image_0013` are `image_#`."""
    return _NUMBER.sub("#", name)


def _canonical(name: str) -> str:
    return _NUMBER.sub(lambda m: str(int(m.group())), name).replace("-", "_").lower()


def _natural(name: str) -> tuple[object, ...]:
    parts = re.split(r"(\d+)", name)
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in parts)
