"""Digests, statistics and files of tensors, each held against the plain way to compute it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity import tensors
from parity.digest import digest_of
from parity.model import TensorRef
from parity.statistics import statistics
from parity.tensors import TensorFiles, read_header


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def digest(array: np.ndarray) -> str:
    return digest_of(array, array.dtype.name)


class TestDigest:
    def test_it_stays_what_it_is(self) -> None:
        """Traces of two environments are held against each other."""
        assert digest(np.zeros(3, np.float32)) == "69ce616d903441d8dc9aef87f08e32ce"
        assert digest(np.arange(300_000, dtype=np.float32)) == "29ee31699d658a08b7139d7bdeb05be9"

    @pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 1026, 5000, 131_072, 131_073, 400_000])
    def test_every_byte_counts(self, size: int) -> None:
        array = normal(size)
        found = {digest(array)}
        places = sorted(
            {place for place in (0, 1, 2, 1023, 1024, 1025, size // 2, size - 2, size - 1) if 0 <= place < size}
        )
        for place in places:
            for bit in range(0, 32, 5):
                other = array.copy()
                other.view(np.uint32)[place] ^= np.uint32(1 << bit)
                found.add(digest(other))
        assert len(found) == 1 + 7 * len(places)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
    def test_signs_count(self, dtype: str) -> None:
        """The sign of every second float32 is the top bit of a word, where sums of products are blind by half."""
        array = normal(4096, dtype=dtype)
        found = {digest(array), digest(-array)}
        for start in range(2):
            for count in (2, 4, 64, 1000):
                other = array.copy()
                other[start : start + 2 * count : 2] *= -1
                found.add(digest(other))
        if dtype == "complex64":
            found.add(digest(array.conj()))
        assert len(found) == 10 + (dtype == "complex64")

    def test_swapped_elements_count(self) -> None:
        array = normal(4096)
        other = array.copy()
        other[[10, 2058]] = other[[2058, 10]]
        assert digest(array) != digest(other)

    def test_shape_and_element_type_count(self) -> None:
        array = np.zeros((8, 512), np.float32)
        others = [array.reshape(512, 8), array.reshape(-1), array.view(np.int32)]
        assert len({digest(array), *map(digest, others), digest_of(array, "bfloat16")}) == 5

    def test_memory_does_not_count(self) -> None:
        array = normal(300, 500)
        moved = np.zeros(array.nbytes + 1, np.uint8)[1:].view(np.float32)
        moved[:] = array.reshape(-1)
        assert digest(array) == digest(np.asfortranarray(array)) == digest(moved.reshape(array.shape))


class TestStatistics:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    @pytest.mark.parametrize("size", [1, 511, 513, 131_072, 300_001])
    def test_are_those_of_the_whole(self, size: int, dtype: str) -> None:
        array = normal(size, dtype=dtype) + 1
        found = statistics(TensorRef("", dtype, array.shape), array)
        wide = array.astype(np.float64)
        assert (found.minimum, found.maximum, found.nonfinite) == (wide.min(), wide.max(), 0)
        assert found.mean == pytest.approx(wide.mean(), rel=2e-6)
        assert found.rms == pytest.approx(np.sqrt(np.mean(wide**2)), rel=2e-6)

    @pytest.mark.parametrize("place", [0, 70_000, 299_999])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_leave_out_what_is_not_finite(self, place: int, value: float) -> None:
        array = normal(300_000)
        array[place] = value
        found = statistics(TensorRef("", "float32", array.shape), array)
        rest = np.delete(array, place).astype(np.float64)
        assert (found.minimum, found.maximum, found.nonfinite) == (rest.min(), rest.max(), 1)
        assert found.mean == pytest.approx(rest.mean(), abs=1e-6)

    def test_of_nothing_finite(self) -> None:
        found = statistics(TensorRef("", "float32", (3,)), np.full(3, np.nan, np.float32))
        assert (found.minimum, found.mean, found.rms, found.nonfinite) == (None, None, None, 3)

    def test_of_bfloat16(self) -> None:
        bits = (np.array([1.0, -3.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
        found = statistics(TensorRef("", "bfloat16", (2,)), bits)
        assert (found.minimum, found.maximum, found.mean, found.rms) == (-3.0, 1.0, -1.0, pytest.approx(np.sqrt(5)))

    def test_of_huge_values(self) -> None:
        """Their square overflows, and a warning would reach the script."""
        found = statistics(TensorRef("", "float32", (2,)), np.array([-3e38, 3e38], np.float32))
        assert (found.minimum, found.rms) == (np.float32(-3e38), None)


class TestFiles:
    def write(self, folder: Path, arrays: list[np.ndarray]) -> list[TensorRef]:
        files = TensorFiles(folder)
        refs = []
        for array in arrays:
            refs.append(TensorRef(digest(array), array.dtype.name, array.shape))
            scratch = array.copy()
            files.add(refs[-1], scratch)
            scratch[...] = 0
        files.close()
        return refs

    def check(self, folder: Path, refs: list[TensorRef], arrays: list[np.ndarray]) -> int:
        """That every tensor is read as it was written; how many files there are."""
        places = {}
        names = sorted(path.name for path in folder.iterdir())
        for name in names:
            places.update(read_header(folder / name))
        for ref, array in zip(refs, arrays, strict=True):
            path, offset, nbytes = places[ref.digest]
            assert path.read_bytes()[offset : offset + nbytes] == array.tobytes()
        assert names == [f"{number:05}.safetensors" for number in range(len(names))]
        return len(names)

    def test_small_and_large_ones(self, tmp_path: Path) -> None:
        arrays = [normal(size) for size in (3, 100_000, 5, 20_000, 20_001, 1, 600_000, 0, 7)]
        assert self.check(tmp_path, self.write(tmp_path, arrays), arrays) == 1

    def test_small_ones_take_no_more_than_they_need(self, tmp_path: Path) -> None:
        arrays = [normal(3), np.arange(4)]
        assert self.check(tmp_path, self.write(tmp_path, arrays), arrays) == 1
        assert (tmp_path / "00000.safetensors").stat().st_size < 1000

    def test_the_header_is_what_the_format_says(self, tmp_path: Path) -> None:
        (ref,) = self.write(tmp_path, [normal(2, 500_000)])
        data = (tmp_path / "00000.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        entry = {"dtype": "F32", "shape": [2, 500_000], "data_offsets": [0, 4_000_000]}
        assert json.loads(data[8 : 8 + length]) == {ref.digest: entry}
        assert data[8:9] == b"{" and len(data) == 8 + length + 4_000_000

    def test_a_header_that_is_full_begins_another_file(self, tmp_path: Path) -> None:
        arrays = [np.full(1 + number % 3, number) for number in range(1500)]
        assert self.check(tmp_path, self.write(tmp_path, arrays), arrays) == 3

    def test_a_file_that_is_full_begins_another(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tensors, "FILE_BYTES", 10**6)
        arrays = [normal(100_000 + number) for number in range(5)]
        assert self.check(tmp_path, self.write(tmp_path, arrays), arrays) == 2

    @pytest.mark.parametrize("refused", ["", "open", "pwrite"])
    def test_past_the_page_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
        """Where the file system refuses that, the file is written as any other."""
        monkeypatch.setattr(tensors, "CACHED", -1)
        real, direct = os.pwrite, []

        def pwrite(file: int, data: Any, offset: int) -> int:
            direct.append(bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT))
            if direct[-1] and refused == "pwrite":
                raise OSError(errno.EINVAL, "refused")
            return real(file, data, offset)

        def opened(path: Any, flags: int, mode: int, real: Any = os.open) -> Any:
            if flags & os.O_DIRECT and refused == "open":
                raise OSError(errno.EINVAL, "refused")
            return real(path, flags, mode)

        monkeypatch.setattr(os, "pwrite", pwrite)
        monkeypatch.setattr(os, "open", opened)
        arrays = [normal(size) for size in (3, 700_000, 5, 20_000, 600_001, 1)]
        refs = self.write(tmp_path, arrays)
        assert direct == {"": [True, True, True, False, False], "open": [False] * 5}.get(refused, [True, *[False] * 5])
        monkeypatch.undo()
        assert self.check(tmp_path, refs, arrays) == 1

    def test_a_file_without_its_header_is_not_there(self, tmp_path: Path) -> None:
        TensorFiles(tmp_path).add(TensorRef("0" * 32, "float32", (10**6,)), normal(10**6))
        assert not list(tmp_path.glob("*.safetensors"))

    @pytest.mark.parametrize("size", [10, 100_000])
    def test_a_full_disk_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        files = TensorFiles(tmp_path)
        files.add(TensorRef("0" * 32, "float32", (10**6,)), normal(10**6))
        assert [path.name for path in tmp_path.iterdir()] == ["unfinished"]
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=tensors.RESERVE))
            files._room = 0
            with pytest.raises(OSError, match="space") as caught:
                files.add(TensorRef("1" * 32, "float32", (size,)), normal(size))
        assert caught.value.errno == errno.ENOSPC
        assert not list(tmp_path.iterdir())
        files.close()
        assert self.check(tmp_path, self.write(tmp_path, [normal(size)]), [normal(size)]) == 1
