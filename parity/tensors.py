"""Files of tensors, in the safetensors format: written as tensors come, read behind a checked header."""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import mmap
import os
import re
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from parity.digest import bytes_of
from parity.errors import TraceError
from parity.model import TensorRef

FILE_BYTES = 64 * 2**20
"""A file that holds so many bytes of tensors is closed."""

RESERVE = 32 * 2**20
"""Bytes that a trace leaves free on its disk."""

DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32",
    "uint32": "U32", "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64",
}  # fmt: skip
_NAMES = {tag: name for name, tag in DTYPES.items()}
_DIGEST = re.compile(r"[0-9a-f]{32}")
_MAX_HEADER = 100 * 2**20

_HEADER = 2**16
"""Bytes before the first tensor of a file; its header is filled up with blanks to them, as the format allows."""

_STAGE = 2**21
"""Bytes that are gathered before they are written."""

CACHED = 256 * 2**20
"""Bytes of a trace from which on it is written past the page cache: its pages cost several times the CPU time of the
copy, more where a virtual machine has to find them, and what they push out is missed."""

_BLOCK = 4096
"""What goes past the page cache is a multiple of so many bytes, in memory and in the file."""


@functools.cache
def dtype_name(dtype: np.dtype) -> str:
    """An element type's name; NumPy makes it up anew each time."""
    return dtype.name


class TensorFiles:
    """Writes tensors to files of a folder.

    A file gets its header, and its name, when it is closed: one that was not is not there for readers.

    Args:
        folder: An existing folder.

    Every method raises OSError where there is no room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unnamed = folder / "unfinished"
        self._stage = np.frombuffer(mmap.mmap(-1, _STAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        self._count = 0
        self._total = 0
        self._begin()

    def _begin(self) -> None:
        self._file = -1
        self._past_cache = False
        self._entries: list[bytes] = []
        self._length = 0
        self._written = 0
        self._staged = 0
        self._room = 0

    def add(self, ref: TensorRef, array: np.ndarray) -> None:
        """Writes a tensor.

        Args:
            ref: Its name, element type and shape.
            array: Its values, which may change when this has returned.
        """
        data = bytes_of(array)
        start = self._written + self._staged
        with self._removing():
            if data.size > self._room:
                self._room = shutil.disk_usage(self._folder).free - RESERVE
                if data.size > self._room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._room -= data.size
            done = 0
            while done < data.size:
                count = min(_STAGE - self._staged, data.size - done)
                self._stage[self._staged : self._staged + count] = data[done : done + count]
                self._staged, done = self._staged + count, done + count
                if self._staged == _STAGE:
                    self._write(self._stage.data, _HEADER + self._written)
                    self._written, self._staged = self._written + _STAGE, 0
        end = start + data.size
        self._total += data.size
        value = {"dtype": DTYPES[ref.dtype], "shape": list(ref.shape), "data_offsets": [start, end]}
        entry = f'"{ref.digest}":{json.dumps(value)}'.encode()
        self._entries.append(entry)
        self._length += len(entry) + 1
        if end > FILE_BYTES or self._length > _HEADER - 2**12:
            self.close()

    def close(self) -> None:
        """Ends the present file, if there is one; what comes later goes to another."""
        if not self._entries:
            return
        text = b"{" + b",".join(self._entries) + b"}"
        with self._removing():
            rest = self._stage[: self._staged]
            if self._written:
                whole = rest.size - rest.size % _BLOCK
                self._write(rest[:whole].data, _HEADER + self._written)
                self._through_cache()
                self._write(rest[whole:].data, _HEADER + self._written + whole)
                self._write(_header(text, _HEADER), 0)
            else:
                self._through_cache()
                self._write(_header(text, 8 + len(text)) + rest.tobytes(), 0)
            os.close(self._file)
            os.replace(self._unnamed, self._folder / f"{self._count:05}.safetensors")
        self._count += 1
        self._begin()

    def _write(self, data: Any, offset: int) -> None:
        """Writes at a place: without a buffer that a forked process would write too, and without a position."""
        self._open()
        left = memoryview(data)
        while left:
            try:
                count = os.pwrite(self._file, left, offset)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._past_cache:
                    raise
                self._through_cache()  # the file system can do nothing else
                continue
            left, offset = left[count:], offset + count

    def _open(self) -> None:
        if self._file >= 0:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        past = getattr(os, "O_DIRECT", 0) if self._total > CACHED else 0
        try:
            self._file, self._past_cache = os.open(self._unnamed, flags | past, 0o666), past > 0
        except OSError as error:
            if error.errno != errno.EINVAL or not past:
                raise
            self._file = os.open(self._unnamed, flags, 0o666)

    def _through_cache(self) -> None:
        """What is written from now on need not be whole blocks."""
        self._open()
        if self._past_cache:
            fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) & ~os.O_DIRECT)
            self._past_cache = False

    @contextmanager
    def _removing(self) -> Iterator[None]:
        """Removes the present file where there is no room for it, so that its own room is free again."""
        try:
            yield
        except OSError:
            if self._file >= 0:
                os.close(self._file)
                self._unnamed.unlink(missing_ok=True)
            self._begin()
            raise


def _header(text: bytes, size: int) -> bytes:
    """A header that takes a whole number of 64 bytes, at least `size`."""
    length = -(-size // 64) * 64 - 8
    return struct.pack("<Q", length) + text.ljust(length)


def read_header(path: Path) -> dict[str, tuple[Path, int, int]]:
    """Digest to (file, offset, bytes), from a safetensors header whose every number is checked against the file."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 0 < length <= min(_MAX_HEADER, size - 8):
            raise TraceError(f"{path} is truncated or no safetensors file", hint="capture the script again")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise TraceError(f"{path} has a damaged header: {error}", hint="capture the script again") from None
    found: dict[str, tuple[Path, int, int]] = {}
    for digest, entry in header.items() if isinstance(header, dict) else ():
        if digest == "__metadata__":
            continue
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if (
            not _DIGEST.fullmatch(digest)
            or not isinstance(offsets, list)
            or len(offsets) != 2
            or not all(isinstance(n, int) for n in offsets)
            or not 0 <= offsets[0] <= offsets[1] <= size - 8 - length
            or entry.get("dtype") not in _NAMES
        ):
            raise TraceError(f"{path} has a damaged entry {str(digest)[:40]!r}", hint="capture the script again")
        found[digest] = (path, 8 + length + offsets[0], offsets[1] - offsets[0])
    return found
