"""Files of tensors, in the safetensors format: written as tensors come, read behind a checked header."""

from __future__ import annotations

import errno
import functools
import json
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

_BUFFER = 2**17
"""Small tensors are gathered to so many bytes before they are written."""


@functools.cache
def dtype_name(dtype: np.dtype) -> str:
    """An element type's name; NumPy makes it up anew each time."""
    return dtype.name


class TensorFiles:
    """Writes tensors to files of a folder, large ones straight from the memory where they lie.

    A file gets its header, and its name, when it is closed: one that was not is not there for readers.

    Args:
        folder: An existing folder.

    Every method raises OSError where there is no room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unnamed = folder / "unfinished"
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._file = -1
        self._entries: list[bytes] = []
        self._length = 0
        self._written = 0
        self._gathered = bytearray()
        self._room = 0

    def add(self, ref: TensorRef, array: np.ndarray) -> None:
        """Writes a tensor.

        Args:
            ref: Its name, element type and shape.
            array: Its values, which may change when this has returned.
        """
        data = bytes_of(array)
        with self._removing():
            if data.size > self._room:
                self._room = shutil.disk_usage(self._folder).free - RESERVE
                if data.size > self._room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._room -= data.size
            start = self._written + len(self._gathered)
            if data.size < _BUFFER // 2:
                self._gathered += data.data
            if data.size >= _BUFFER // 2 or len(self._gathered) > _BUFFER:
                self._send(self._gathered)
                self._gathered = bytearray()
            if data.size >= _BUFFER // 2:
                self._send(data.data)
        end = start + data.size
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
            if self._written:
                self._send(self._gathered)
                self._write(_header(text, _HEADER), 0)
            else:
                self._write(_header(text, 8 + len(text)) + self._gathered, 0)
            os.close(self._file)
            os.replace(self._unnamed, self._folder / f"{self._count:05}.safetensors")
        self._count += 1
        self._begin()

    def _send(self, data: Any) -> None:
        """Writes behind what is written; where that is interrupted, the next one goes to the same place."""
        self._write(data, _HEADER + self._written)
        self._written += len(data)

    def _write(self, data: Any, offset: int) -> None:
        """Writes at a place: without a buffer that a forked process would write too, and without a position."""
        if self._file < 0:
            self._file = os.open(self._unnamed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        left = memoryview(data)
        while left:
            count = os.pwrite(self._file, left, offset)
            left, offset = left[count:], offset + count

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
