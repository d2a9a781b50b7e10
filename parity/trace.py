"""Traces on disk: `NAME.trace/` with `meta.json`, `layers.json`, `events.jsonl` and `tensors/*.safetensors`.

Nothing in a trace is ever run: JSON is decoded into typed records, tensors are raw bytes behind a checked
header. A trace is written to `NAME.trace.partial` and renamed when it is complete; a partial one still opens.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from parity.errors import TraceError
from parity.model import SCHEMA, Event, Layers, Meta, TensorEvent, TensorRef

FLUSH_BYTES = 64 * 2**20
"""Tensors are gathered to this many bytes before a file of them is written."""

_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32",
    "uint32": "U32", "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64",
}  # fmt: skip
_NAMES = {tag: name for name, tag in _DTYPES.items()}
_DIGEST = re.compile(r"[0-9a-f]{32}")
_MAX_HEADER = 100 * 2**20


def digest_of(array: np.ndarray, dtype: str) -> str:
    """BLAKE2b of a tensor's bytes, shape and dtype: 32 hexadecimal digits."""
    hasher = hashlib.blake2b(f"{dtype}{array.shape}".encode(), digest_size=16)
    hasher.update(_bytes(array))
    return hasher.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def widen(array: np.ndarray, dtype: str) -> np.ndarray:
    """A stored array as NumPy can compute with it: bfloat16 bits (uint16) become float32."""
    if dtype != "bfloat16":
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def _statistics(ref: TensorRef, array: np.ndarray) -> TensorEvent:
    values = widen(array, ref.dtype)
    if values.size == 0 or values.dtype.kind not in "fiub":
        return TensorEvent(ref)
    if values.dtype.kind != "f":
        wide = values.astype(np.float64) if values.dtype.kind == "b" else values
        return TensorEvent(ref, float(wide.min()), float(wide.max()), float(wide.mean()))
    wide = values if values.dtype != np.float16 else values.astype(np.float32)
    low, high = float(wide.min()), float(wide.max())
    nonfinite = 0
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.isfinite(wide)
        nonfinite = int(wide.size - finite.sum())
        wide = wide[finite]
        if wide.size == 0:
            return TensorEvent(ref, nonfinite=nonfinite)
        low, high = float(wide.min()), float(wide.max())
    flat = wide.reshape(-1)
    with np.errstate(over="ignore", under="ignore"):
        rms = float(np.sqrt(float(np.dot(flat, flat)) / flat.size)) if high - low < 1e18 else None
        return TensorEvent(ref, low, high, float(flat.mean()), rms, nonfinite)


class TraceWriter:
    """Writes one trace; a context manager is not used, because the script may end in any way.

    Args:
        path: The final folder, `NAME.trace`. The partial folder stands beside it.
    """

    def __init__(self, path: Path) -> None:
        self.final = path
        self.partial = path.with_name(path.name + ".partial")
        if self.partial.exists():
            shutil.rmtree(self.partial)
        (self.partial / "tensors").mkdir(parents=True)
        self._events = open(self.partial / "events.jsonl", "wb")  # noqa: SIM115  (closed by finish or close)
        self._encoder = msgspec.json.Encoder()
        self._known: set[str] = set()
        self._pending: dict[str, tuple[TensorRef, np.ndarray]] = {}
        self._pending_bytes = 0
        self._files = 0

    def put(self, array: np.ndarray, dtype: str | None = None) -> TensorRef:
        """Stores a tensor unless its content is already there.

        Args:
            array: Any shape; bfloat16 as its bits in uint16, with `dtype="bfloat16"`. Not changed afterwards.
            dtype: The framework's element type; the array's own where it is not given.
        """
        dtype = dtype or array.dtype.name
        if dtype not in _DTYPES:
            array, dtype = array.astype(np.float64), "float64"
        ref = TensorRef(digest_of(array, dtype), dtype, tuple(array.shape))
        if ref.digest not in self._known:
            self._known.add(ref.digest)
            self._pending[ref.digest] = (ref, array)
            self._pending_bytes += array.nbytes
            self.event(_statistics(ref, array))
            if self._pending_bytes > FLUSH_BYTES:
                self.flush()
        return ref

    def event(self, event: Event) -> None:
        """Appends one record."""
        self._events.write(self._encoder.encode(event) + b"\n")

    def flush(self) -> None:
        """Writes the gathered tensors to a file of their own."""
        if self._pending:
            _write_safetensors(self.partial / "tensors" / f"{self._files:05}.safetensors", self._pending)
            self._files += 1
            self._pending.clear()
            self._pending_bytes = 0
        self._events.flush()

    def layers(self, layers: Layers) -> None:
        """Writes `layers.json`."""
        (self.partial / "layers.json").write_bytes(msgspec.json.encode(layers))

    def meta(self, meta: Meta) -> None:
        """Writes `meta.json`."""
        (self.partial / "meta.json").write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=1))

    def finish(self) -> None:
        """Completes the trace under its final name, replacing an older trace."""
        self.flush()
        self._events.close()
        if self.final.exists():
            shutil.rmtree(self.final)
        os.replace(self.partial, self.final)

    def close(self) -> None:
        """Leaves the trace partial, but readable."""
        if not self._events.closed:
            self.flush()
            self._events.close()


class Trace:
    """A trace, opened for reading. Tensors are mapped from disk when they are asked for.

    Args:
        path: A `NAME.trace` or `NAME.trace.partial` folder.

    Raises:
        TraceError: No trace, another schema, or records that cannot be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "meta.json").is_file():
            raise TraceError(f"{self.path} is not a trace: it has no meta.json", hint="capture it again")
        self.meta = self._decode("meta.json", Meta)
        if self.meta.schema != SCHEMA:
            raise TraceError(
                f"{self.path} was written with trace schema {self.meta.schema}; this parity reads {SCHEMA}",
                hint="capture the script again with this version",
            )
        layers = self.path / "layers.json"
        tree = self._decode("layers.json", Layers) if layers.is_file() else Layers()
        self.layers = tree.layers
        self.parameters = tree.parameters
        self.objects = tree.objects
        self.events: list[Event] = [event for event in self._read_events() if not isinstance(event, TensorEvent)]
        self._locations = self._read_locations()
        self._maps: dict[Path, np.memmap] = {}

    def _decode(self, name: str, kind: Any) -> Any:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError, RecursionError) as error:
            raise TraceError(f"{self.path / name} cannot be read: {error}", hint="capture the script again") from None

    def _read_events(self) -> Iterator[Event]:
        decoder = msgspec.json.Decoder(Event)
        path = self.path / "events.jsonl"
        if not path.is_file():
            return
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n") and not self.meta.complete:
                    return
                try:
                    yield decoder.decode(line)
                except (msgspec.MsgspecError, RecursionError) as error:
                    raise TraceError(f"{path}, line {number}: {error}", hint="capture the script again") from None

    def _read_locations(self) -> dict[str, tuple[Path, int, int]]:
        locations: dict[str, tuple[Path, int, int]] = {}
        folder = self.path / "tensors"
        if folder.is_symlink():
            raise TraceError(f"{folder} is a symbolic link", hint="a trace holds its own tensors: copy it again")
        for path in sorted(folder.glob("*.safetensors")):
            if path.is_symlink():
                raise TraceError(f"{path} is a symbolic link", hint="a trace holds its own tensors: copy it again")
            locations.update(_read_header(path))
        return locations

    def __contains__(self, ref: TensorRef) -> bool:
        return ref.digest in self._locations

    def array(self, ref: TensorRef) -> np.ndarray:
        """The tensor's values: bfloat16 as float32, all else as stored; read-only, mapped from disk.

        Raises:
            TraceError: The tensor is missing, or its bytes do not fit its shape.
        """
        location = self._locations.get(ref.digest)
        if location is None:
            raise TraceError(f"{self.path} lacks tensor {ref.digest[:8]}", hint="capture the script again")
        path, offset, nbytes = location
        if ref.dtype not in _DTYPES or any(extent < 0 for extent in ref.shape):
            raise TraceError(f"{self.path}: tensor {ref.digest[:8]} cannot be of {ref.dtype}{ref.shape}")
        raw = np.dtype("uint16" if ref.dtype == "bfloat16" else ref.dtype)
        if raw.itemsize * ref.size != nbytes:
            raise TraceError(f"{path}: tensor {ref.digest[:8]} has {nbytes} bytes, not those of {ref.dtype}{ref.shape}")
        if nbytes == 0:
            return np.zeros(ref.shape, raw)
        if path not in self._maps:
            self._maps[path] = np.memmap(path, np.uint8, "r")
        return widen(
            self._maps[path][offset : offset + nbytes].view(raw).reshape(ref.shape).view(np.ndarray), ref.dtype
        )

    def of(self, kind: type[Any], step: int | None = None) -> list[Any]:
        """The records of one kind, in the order in which they were written."""
        return [e for e in self.events if isinstance(e, kind) and (step is None or e.step == step)]


def _write_safetensors(path: Path, tensors: dict[str, tuple[TensorRef, np.ndarray]]) -> None:
    """Writes the safetensors format (header length, JSON header, bytes) without a second copy in memory.

    The library's own writer takes only whole buffers, and none of them bfloat16 from NumPy.
    """
    header: dict[str, Any] = {}
    offset = 0
    for digest, (ref, array) in tensors.items():
        end = offset + array.nbytes
        header[digest] = {"dtype": _DTYPES[ref.dtype], "shape": list(ref.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in tensors.values():
            file.write(_bytes(array))


def _read_header(path: Path) -> dict[str, tuple[Path, int, int]]:
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
