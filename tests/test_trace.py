"""Traces: what is written comes back, and what is damaged or forged is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest

from parity.errors import TraceError
from parity.model import BufferEvent, Layers, LossEvent, Meta, TensorEvent, TensorRef
from parity.statistics import widen
from parity.trace import Trace, TraceWriter

DTYPES = [
    "bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
]  # fmt: skip


def write(path: Path, tensors: list[tuple[np.ndarray, str | None]], finish: bool = True) -> list[TensorRef]:
    """A trace that holds these tensors, one buffer event a tensor."""
    writer = TraceWriter(path)
    refs = [writer.put(array, dtype) for array, dtype in tensors]
    for step, ref in enumerate(refs):
        writer.event(BufferEvent(step, {"value": ref}))
    writer.layers(Layers())
    writer.meta(Meta(framework="fake", steps=len(refs), complete=finish))
    if finish:
        writer.finish()
    else:
        writer.close()
    return refs


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A good trace with one tensor, 0 to 11."""
    path = tmp_path / "x.trace"
    write(path, [(np.arange(12, dtype=np.float32).reshape(3, 4), None)])
    return path


def tensor_file(trace: Path) -> Path:
    (path,) = (trace / "tensors").iterdir()
    return path


def rewrite_header(trace: Path, change: dict[str, Any] | bytes) -> None:
    """Puts another header before the same tensor bytes; a dict replaces fields of every entry."""
    path = tensor_file(trace)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    text = change if isinstance(change, bytes) else json.dumps(
        {name: {**entry, **change} for name, entry in json.loads(data[8 : 8 + length]).items()}
    ).encode()  # fmt: skip
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (2, 0, 3)])
    def test_dtypes(self, tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        array = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
        (ref,) = write(tmp_path / "x.trace", [(array, None)])
        assert (ref.dtype, ref.shape) == (dtype, shape)
        back = Trace(tmp_path / "x.trace").array(ref)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)

    def test_bfloat16(self, tmp_path: Path) -> None:
        bits = np.array([0x3F80, 0xC000, 0x7F80, 0x0001, 0x7FC0], np.uint16)
        (ref,) = write(tmp_path / "x.trace", [(bits, "bfloat16")])
        back = Trace(tmp_path / "x.trace").array(ref)
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, np.array([1.0, -2.0, np.inf, 2.0**-133, np.nan], np.float32))

    def test_what_safetensors_lacks_is_widened(self, tmp_path: Path) -> None:
        (ref,) = write(tmp_path / "x.trace", [(np.array([1.5], np.longdouble), None)])
        assert ref.dtype == "float64"
        assert Trace(tmp_path / "x.trace").array(ref)[0] == 1.5

    def test_not_contiguous(self, tmp_path: Path) -> None:
        array = np.arange(24.0).reshape(4, 6)[::2, ::3].T
        (ref,) = write(tmp_path / "x.trace", [(array, None)])
        np.testing.assert_array_equal(Trace(tmp_path / "x.trace").array(ref), array)

    @hypothesis.given(
        arrays.arrays(
            st.sampled_from(DTYPES).map(np.dtype), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
        )
    )
    @hypothesis.settings(deadline=None)
    def test_any_array(self, tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
        path = tmp_path_factory.mktemp("any") / "x.trace"
        (ref,) = write(path, [(array, None)])
        back = Trace(path).array(ref)
        assert back.tobytes() == array.tobytes()
        assert back.shape == array.shape

    @hypothesis.given(st.integers(0, 2**16 - 1))
    def test_widening_bfloat16_keeps_the_bits(self, bits: int) -> None:
        wide = widen(np.array([bits], np.uint16), "bfloat16")
        assert int(wide.view(np.uint32)[0]) == bits << 16

    def test_statistics(self, tmp_path: Path) -> None:
        path = tmp_path / "x.trace"
        write(path, [(np.array([3.0, -4.0, np.nan, np.inf]), None)])
        lines = (path / "events.jsonl").read_bytes().splitlines()
        event = msgspec.json.decode(lines[0], type=TensorEvent)
        assert (event.minimum, event.maximum, event.mean, event.nonfinite) == (-4.0, 3.0, -0.5, 2)
        assert event.rms == pytest.approx(np.sqrt(12.5))

    def test_huge_values_have_statistics_without_a_warning(self, tmp_path: Path) -> None:
        write(tmp_path / "x.trace", [(np.full(9, 3e38, np.float32), None), (np.full(9, -1e300), None)])
        assert Trace(tmp_path / "x.trace").meta.steps == 2


class TestWriting:
    def test_equal_tensors_are_stored_once(self, tmp_path: Path) -> None:
        values = np.ones((8, 8), np.float32)
        first, again, other, shaped = write(
            tmp_path / "x.trace",
            [(values, None), (values.copy(), None), (values.astype(np.float64), None), (values.reshape(64), None)],
        )
        assert first == again
        assert len({first.digest, other.digest, shaped.digest}) == 3
        assert tensor_file(tmp_path / "x.trace").stat().st_size < 256 + 512 + 256 + 1024

    def test_an_older_trace_is_replaced(self, small: Path) -> None:
        (ref,) = write(small, [(np.zeros(3), None)])
        trace = Trace(small)
        assert trace.array(ref).tolist() == [0, 0, 0]
        assert not small.with_name("x.trace.partial").exists()

    def test_events_keep_their_order(self, small: Path) -> None:
        write(small, [(np.full(2, step), None) for step in range(5)])
        assert [event.step for event in Trace(small).of(BufferEvent)] == [0, 1, 2, 3, 4]
        assert Trace(small).of(LossEvent) == []


class TestPartial:
    def test_it_opens(self, tmp_path: Path) -> None:
        (ref,) = write(tmp_path / "x.trace", [(np.arange(3), None)], finish=False)
        trace = Trace(tmp_path / "x.trace.partial")
        assert not trace.meta.complete
        assert trace.array(ref).tolist() == [0, 1, 2]

    def test_a_line_that_was_cut_off_is_left_out(self, tmp_path: Path) -> None:
        write(tmp_path / "x.trace", [(np.arange(3), None), (np.arange(4), None)], finish=False)
        events = tmp_path / "x.trace.partial" / "events.jsonl"
        events.write_bytes(events.read_bytes()[:-7])
        assert [event.step for event in Trace(tmp_path / "x.trace.partial").of(BufferEvent)] == [0]

    def test_without_layers_and_events(self, tmp_path: Path) -> None:
        write(tmp_path / "x.trace", [], finish=False)
        partial = tmp_path / "x.trace.partial"
        (partial / "layers.json").unlink()
        (partial / "events.jsonl").unlink()
        assert Trace(partial).events == []


class TestDamage:
    def test_no_trace(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match=r"meta\.json"):
            Trace(tmp_path / "gone.trace")

    def test_another_schema(self, small: Path) -> None:
        (small / "meta.json").write_bytes(msgspec.json.encode(Meta(schema=99)))
        with pytest.raises(TraceError, match="schema 99"):
            Trace(small)

    @pytest.mark.parametrize("name", ["meta.json", "layers.json"])
    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": "one", "layers": 3}', b"[" * 10**6]
    )
    def test_records_that_cannot_be_read(self, small: Path, name: str, content: bytes) -> None:
        (small / name).write_bytes(content)
        with pytest.raises(TraceError, match=name):
            Trace(small)

    @pytest.mark.parametrize(
        "line", [b"{\n", b'{"type": "exec"}\n', b"null\n", b'{"type":"buffer","step":0}\n', b"cut"]
    )
    def test_events_of_a_complete_trace(self, small: Path, line: bytes) -> None:
        with open(small / "events.jsonl", "ab") as file:
            file.write(line)
        with pytest.raises(TraceError, match=r"events\.jsonl, line 3"):
            Trace(small)

    @pytest.mark.parametrize("size", [0, 4, 8, 60])
    def test_truncated_tensor_file(self, small: Path, size: int) -> None:
        path = tensor_file(small)
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(TraceError, match="truncated"):
            Trace(small)

    def test_truncated_tensor(self, small: Path) -> None:
        path = tensor_file(small)
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(TraceError, match="damaged entry"):
            Trace(small)

    @pytest.mark.parametrize("length", [0, 2**63, 2**64 - 1, 10**9])
    def test_absurd_header_length(self, small: Path, length: int) -> None:
        path = tensor_file(small)
        path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
        with pytest.raises(TraceError, match="truncated"):
            Trace(small)

    @pytest.mark.parametrize("text", [b"\x00\x01garbage", b"{", b"\xff" * 40, b"[" * 100_000])
    def test_garbage_header(self, small: Path, text: bytes) -> None:
        rewrite_header(small, text)
        with pytest.raises(TraceError, match="damaged header"):
            Trace(small)

    @pytest.mark.parametrize(
        "offsets", [[-8, 40], [40, 8], [0, 10**18], [0], [0, 1, 2], ["0", "48"], [0.0, 48.0], None]
    )
    def test_absurd_offsets(self, small: Path, offsets: Any) -> None:
        rewrite_header(small, {"data_offsets": offsets})
        with pytest.raises(TraceError, match="damaged entry"):
            Trace(small)

    def test_unknown_dtype_in_the_header(self, small: Path) -> None:
        rewrite_header(small, {"dtype": "O"})
        with pytest.raises(TraceError, match="damaged entry"):
            Trace(small)

    @pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "A" * 32, "0" * 31])
    def test_names_that_are_no_digests(self, small: Path, name: str) -> None:
        entry = {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]}
        rewrite_header(small, json.dumps({name: entry}).encode())
        with pytest.raises(TraceError, match="damaged entry"):
            Trace(small)

    @pytest.mark.parametrize(
        ("dtype", "shape"),
        [
            ("object", (6,)),
            ("evil", (12,)),
            ("float32", (-3, -4)),
            ("float32", (2**40,)),
            ("float64", (12,)),
            ("V4", (12,)),
        ],
    )
    def test_references_that_do_not_fit(self, small: Path, dtype: str, shape: tuple[int, ...]) -> None:
        trace = Trace(small)
        (event,) = trace.of(BufferEvent)
        with pytest.raises(TraceError):
            trace.array(TensorRef(event.values["value"].digest, dtype, shape))

    def test_a_tensor_that_is_missing(self, small: Path) -> None:
        ref = TensorRef("0" * 32, "float32", (1,))
        assert ref not in Trace(small)
        with pytest.raises(TraceError, match="lacks tensor"):
            Trace(small).array(ref)

    def test_a_symbolic_link_as_a_tensor_file(self, small: Path, tmp_path: Path) -> None:
        path = tensor_file(small)
        outside = path.rename(tmp_path / "outside.safetensors")
        path.symlink_to(outside)
        with pytest.raises(TraceError, match="symbolic link"):
            Trace(small)

    def test_a_symbolic_link_as_the_tensor_folder(self, small: Path, tmp_path: Path) -> None:
        outside = (small / "tensors").rename(tmp_path / "outside")
        (small / "tensors").symlink_to(outside)
        with pytest.raises(TraceError, match="symbolic link"):
            Trace(small)
