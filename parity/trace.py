"""Traces on disk: `NAME.trace/` with `meta.json`, `layers.json`, `events.jsonl` and `tensors/*.safetensors`.

Nothing in a trace is ever run: JSON is decoded into typed records, tensors are raw bytes behind a checked
header. A trace is written to `NAME.trace.partial` and renamed when it is complete; a partial one still opens.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from parity.digest import digest_of
from parity.errors import OutOfSpace, TraceError
from parity.model import EVALUATION, SCHEMA, Event, Layers, LossEvent, Meta, TensorEvent, TensorRef
from parity.space import FULL, disk_full, over_limit
from parity.statistics import statistics, widen
from parity.tensors import DTYPES, TensorFiles, dtype_name, read_header

_MAX_RECORD = 256 * 2**20
"""Bytes of `meta.json`, of `layers.json` or of one event that are still read: those of real traces are far smaller."""

MAPPED = 2
"""Files of tensors that are mapped at once: what was read leaves the memory again."""

FEW = 64
"""Elements of a tensor that a summary stores too: losses are looked at one by one."""


_EMPTY = 10_000
"""Steps that a trace may claim beyond its records, each of which leaves some: what is done for each must end."""


class TraceWriter:
    """Writes one trace; a context manager is not used, because the script may end in any way.

    Args:
        path: The final folder, `NAME.trace`. The partial folder stands beside it.
        limit: Bytes that the trace may take; None for as much as the disk has.
        summary: Write the statistics of tensors, and the tensors themselves only while `keeping` is set.

    Attributes:
        keeping: Whether tensors are stored now.
        written: Bytes that it takes so far.
        failed: The error after which nothing more can be written.

    Every method that writes raises `OutOfSpace` where there is no room, and again from then on.
    """

    def __init__(self, path: Path, limit: int | None = None, summary: bool = False) -> None:
        self.final = path
        self.limit = limit
        self.keeping = not summary
        self.written = 0
        self.failed: OutOfSpace | None = None
        self.partial = path.with_name(path.name + ".partial")
        if self.partial.exists():
            shutil.rmtree(self.partial)
        (self.partial / "tensors").mkdir(parents=True)
        self._events = open(self.partial / "events.jsonl", "wb")  # noqa: SIM115  (closed by finish or close)
        self._encoder = msgspec.json.Encoder()
        self._known: set[str] = set()
        self._stored: set[str] = set()
        self._files = TensorFiles(self.partial / "tensors")

    def put(self, array: np.ndarray, dtype: str | None = None) -> TensorRef:
        """Stores a tensor unless its content is already there.

        Args:
            array: Any shape; bfloat16 as its bits in uint16, with `dtype="bfloat16"`. It may change afterwards.
            dtype: The framework's element type; the array's own where it is not given.
        """
        self._check()
        dtype = dtype or dtype_name(array.dtype)
        if dtype not in DTYPES:
            array, dtype = array.astype(np.float64), "float64"
        shape = tuple(array.shape)
        array = np.ascontiguousarray(array)
        ref = TensorRef(digest_of(array.reshape(shape), dtype), dtype, shape)
        if ref.digest not in self._known:
            self._known.add(ref.digest)
            self.event(statistics(ref, array))
        if (self.keeping or array.size <= FEW) and ref.digest not in self._stored:
            self._stored.add(ref.digest)
            with self._on_disk():
                self._files.add(ref, array)
            self.written += array.nbytes
        return ref

    @contextmanager
    def needed(self) -> Iterator[None]:
        """What is put meanwhile is stored in any case: what the other run starts from and is given."""
        before, self.keeping = self.keeping, True
        try:
            yield
        finally:
            self.keeping = before

    def event(self, event: Event) -> None:
        """Appends one record."""
        self._check()
        line = self._encoder.encode(event) + b"\n"
        self.written += len(line)
        try:
            self._events.write(line)
        except OSError as error:
            raise self._failing(error) from None

    def flush(self) -> None:
        """Brings what was written so far to where it is found after the process was killed."""
        self._check()
        with self._on_disk():
            self._files.close()
            self._events.flush()

    def layers(self, layers: Layers) -> None:
        """Writes `layers.json`."""
        self._replace("layers.json", msgspec.json.encode(layers))

    def meta(self, meta: Meta) -> None:
        """Writes `meta.json`."""
        self._replace("meta.json", msgspec.json.format(msgspec.json.encode(meta), indent=1))

    def _replace(self, name: str, content: bytes) -> None:
        """Writes a whole file; what stood there stays where that fails."""
        with self._on_disk():
            beside = self.partial / f"{name}.new"
            try:
                beside.write_bytes(content)
                os.replace(beside, self.partial / name)
            finally:
                beside.unlink(missing_ok=True)

    def _check(self) -> None:
        if self.failed is None and self.limit is not None and self.written > self.limit:
            self.failed = over_limit(self.final.name, self.limit)
        if self.failed is not None:
            raise self.failed

    def _failing(self, error: OSError) -> Exception:
        """What a failed write is raised as: nothing more is written to a full disk."""
        if error.errno not in FULL:
            return error
        self.failed = disk_full(self.partial, error)
        return self.failed

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failing(error) from None

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
            try:
                self.flush()
                self._events.close()
            except (OutOfSpace, OSError):
                pass  # the records before the last complete step are on the disk


class Trace:
    """A trace, opened for reading. Tensors are mapped from disk when they are asked for.

    Args:
        path: A `NAME.trace` or `NAME.trace.partial` folder.

    Raises:
        TraceError: No trace, another schema, or records that cannot be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        for name in ("meta.json", "layers.json", "events.jsonl", "noise.json"):
            if (self.path / name).is_symlink():
                raise TraceError(
                    f"{self.path / name} is a symbolic link", hint="a trace holds its own records: copy it again"
                )
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
        self.companions = tree.companions
        self.events: list[Event] = [event for event in self._read_events() if not isinstance(event, TensorEvent)]
        if not 0 <= self.meta.steps <= len(self.events) + _EMPTY:
            raise TraceError(
                f"{self.path} says that it has {self.meta.steps} steps, and holds {len(self.events)} records",
                hint="capture the script again",
            )
        self._locations = self._read_locations()
        self._maps: dict[Path, np.memmap] = {}

    def _decode(self, name: str, kind: Any) -> Any:
        try:
            if (self.path / name).stat().st_size > _MAX_RECORD:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError, RecursionError) as error:
            raise TraceError(f"{self.path / name} cannot be read: {error}", hint="capture the script again") from None

    def _read_events(self) -> Iterator[Event]:
        decoder = msgspec.json.Decoder(Event)
        path = self.path / "events.jsonl"
        if not path.is_file():
            return
        with open(path, "rb") as lines:
            for number in itertools.count(1):
                line = lines.readline(_MAX_RECORD)
                if not line:
                    return
                if not line.endswith(b"\n") and not self.meta.complete:
                    return
                try:
                    yield decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise TraceError(f"{path}, line {number}: {error}", hint="capture the script again") from None

    def _read_locations(self) -> dict[str, tuple[Path, int, int]]:
        locations: dict[str, tuple[Path, int, int]] = {}
        folder = self.path / "tensors"
        if folder.is_symlink():
            raise TraceError(f"{folder} is a symbolic link", hint="a trace holds its own tensors: copy it again")
        for path in sorted(folder.glob("*.safetensors")):
            if path.is_symlink() or not path.is_file():
                kind = "a symbolic link" if path.is_symlink() else "no file"
                raise TraceError(f"{path} is {kind}", hint="a trace holds its own tensors: copy it again")
            locations.update(read_header(path))
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
        if ref.dtype not in DTYPES or any(extent < 0 for extent in ref.shape):
            raise TraceError(f"{self.path}: tensor {ref.digest[:8]} cannot be of {ref.dtype}{ref.shape}")
        raw = np.dtype("uint16" if ref.dtype == "bfloat16" else ref.dtype)
        if raw.itemsize * ref.size != nbytes:
            raise TraceError(f"{path}: tensor {ref.digest[:8]} has {nbytes} bytes, not those of {ref.dtype}{ref.shape}")
        try:
            if nbytes == 0:
                return np.zeros(ref.shape, raw)
            if path not in self._maps:
                while len(self._maps) >= MAPPED:
                    del self._maps[next(iter(self._maps))]
                self._maps[path] = np.memmap(path, np.uint8, "r")
            stored = self._maps[path][offset : offset + nbytes].view(raw).reshape(ref.shape).view(np.ndarray)
        except (ValueError, OverflowError, OSError) as error:
            raise TraceError(f"{path}: tensor {ref.digest[:8]} cannot be read: {error}") from None
        return widen(stored, ref.dtype)

    def statistics(self) -> dict[str, TensorEvent]:
        """The statistics of every tensor by its digest, also of those whose values were not stored.

        Raises:
            TraceError: The records cannot be decoded.
        """
        return {event.ref.digest: event for event in self._read_events() if isinstance(event, TensorEvent)}

    def of(self, kind: type[Any], step: int | None = None) -> list[Any]:
        """The records of one kind, in the order in which they were written: of one step, or of all of training."""
        if step is None:
            return [e for e in self._kinds.get(kind, ()) if getattr(e, "step", 0) != EVALUATION]
        return list(self._steps.get((kind, step), ()))

    def every(self, kind: type[Any]) -> list[Any]:
        """The same of training and of evaluation mode."""
        return list(self._kinds.get(kind, ()))

    @functools.cached_property
    def _kinds(self) -> dict[type[Any], list[Any]]:
        """The records by their kind."""
        found: dict[type[Any], list[Any]] = defaultdict(list)
        for event in self.events:
            found[type(event)].append(event)
        return dict(found)

    @functools.cached_property
    def _steps(self) -> dict[tuple[type[Any], int | None], list[Any]]:
        """The records by their kind and step."""
        found: dict[tuple[type[Any], int | None], list[Any]] = defaultdict(list)
        for event in self.events:
            found[type(event), getattr(event, "step", None)].append(event)
        return dict(found)


def loss_curve(trace: Trace) -> list[float]:
    """The loss of each step, the mean over its backward passes; NaN where none was recorded."""
    found: dict[int, list[float]] = {}
    for event in trace.of(LossEvent):
        found.setdefault(event.step, []).append(float(np.mean(np.asarray(trace.array(event.ref), np.float64))))
    return [float(np.mean(found[step])) if step in found else float("nan") for step in range(trace.meta.steps)]
