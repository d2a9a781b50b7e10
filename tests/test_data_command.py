"""`parity data`: exit codes, verdicts and messages over two folders of arrays."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.cli import main
from parity.errors import Exit

RNG = np.random.default_rng(8)
IMAGES = RNG.random((4, 10, 3, 6, 5), dtype=np.float32)
LABELS = RNG.integers(0, 5, (4, 10))

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for side in ("ref", "ms"):
        (tmp_path / side).mkdir()
        for step in range(4):
            np.save(tmp_path / side / f"image_{step}.npy", IMAGES[step])
            np.save(tmp_path / side / f"label_{step}.npy", LABELS[step])
    return tmp_path / "ref", tmp_path / "ms"


@pytest.fixture
def run(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*more: str) -> tuple[int, dict[str, Any]]:
        code = main(["data", *map(str, folders), "--format", "json", *more])
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return code, document

    return call


def change(folder: Path, how: Callable[[np.ndarray], np.ndarray], column: str = "image") -> None:
    for step in range(4):
        file = folder / f"{column}_{step}.npy"
        np.save(file, how(np.load(file)))


def test_equal_folders_match(run: Run) -> None:
    code, document = run()
    assert (code, document["verdict"], document["findings"]) == (Exit.MATCH, "match", [])
    assert document["stages"]["data"]["compared"] == 8


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        (lambda a: a * np.float32(255), "scale", "255"),
        (lambda a: (a - np.float32(0.5)) / np.float32(0.25), "normalization", "4·x + -2"),
        (lambda a: a.transpose(0, 2, 3, 1), "layout", "HWC where the reference has CHW"),
        (lambda a: a[:, ::-1], "channel-order", "BGR"),
        (lambda a: a.astype(np.float16), "dtype", "float16"),
        (lambda a: a[:8], "batch-size", "8 samples where the reference has 10"),
    ],
)
def test_how_they_differ(folders: tuple[Path, Path], run: Run, how: Any, kind: str, words: str) -> None:
    change(folders[1], how)
    code, document = run()
    assert (code, document["verdict"], document["first"]) == (Exit.DIVERGED, "diverged", 0)
    assert kind in [finding["kind"] for finding in document["findings"]]
    assert words in " ".join(finding["message"] for finding in document["findings"])
    assert all(finding["stage"] == "data" for finding in document["findings"])


def test_one_finding_for_all_batches(folders: tuple[Path, Path], run: Run) -> None:
    change(folders[1], lambda labels: labels + 1, "label")
    _, document = run()
    (finding,) = document["findings"]
    assert finding["kind"] == "label-offset"
    assert "4 of 4 arrays" in finding["message"]


def test_another_order(folders: tuple[Path, Path], run: Run) -> None:
    order = np.random.default_rng(0).permutation(40)
    for step in range(4):
        np.save(folders[1] / f"image_{step}.npy", IMAGES.reshape(40, 3, 6, 5)[order[step * 10 : step * 10 + 10]])
    code, document = run()
    assert code == Exit.DIVERGED
    assert [f["kind"] for f in document["findings"]] == ["order"]


def test_integer_widths_are_a_warning(folders: tuple[Path, Path], run: Run) -> None:
    change(folders[1], lambda labels: labels.astype(np.int32), "label")
    code, document = run()
    assert code == Exit.MATCH
    assert [(f["kind"], f["severity"]) for f in document["findings"]] == [("dtype", "warning")]


def test_an_array_that_one_side_lacks(folders: tuple[Path, Path], run: Run) -> None:
    (folders[1] / "label_3.npy").unlink()
    np.save(folders[1] / "mask.npy", np.ones(3))
    code, document = run()
    assert code == Exit.DIVERGED
    assert [f["kind"] for f in document["findings"]] == ["array-missing", "array-extra"]
    assert document["unaligned"] == {"reference": ["label_3"], "candidate": ["mask"]}


def test_numbers_may_be_padded(folders: tuple[Path, Path], run: Run) -> None:
    for file in list(folders[1].iterdir()):
        file.rename(file.with_name(file.name.replace("_", "-000")))
    assert run()[0] == Exit.MATCH


def test_npz_against_npz(folders: tuple[Path, Path], run: Run) -> None:
    for folder, factor in zip(folders, (1, 2), strict=True):
        for file in list(folder.iterdir()):
            file.unlink()
        np.savez(folder / "batch.npz", image=IMAGES[0] * factor, label=LABELS[0])
    code, document = run()
    assert code == Exit.DIVERGED
    assert document["findings"][0]["candidate"]["path"] == "batch/image"


def test_two_empty_folders_are_inconclusive(folders: tuple[Path, Path], run: Run) -> None:
    for folder in folders:
        for file in list(folder.iterdir()):
            file.unlink()
    code, document = run()
    assert (code, document["verdict"]) == (Exit.INCONCLUSIVE, "inconclusive")


def test_one_empty_folder_diverges(folders: tuple[Path, Path], run: Run) -> None:
    for file in list(folders[1].iterdir()):
        file.unlink()
    assert run()[0] == Exit.DIVERGED


def test_the_same_nan_is_a_warning(folders: tuple[Path, Path], run: Run) -> None:
    for folder in folders:
        change(folder, lambda a: np.where(a > 0.99, np.float32(np.nan), a))
    code, document = run()
    assert code == Exit.MATCH
    assert [f["severity"] for f in document["findings"]] == ["warning"]


def test_allclose(folders: tuple[Path, Path], run: Run) -> None:
    change(folders[1], lambda a: a + np.float32(0.01))
    assert run()[0] == Exit.DIVERGED
    assert run("--rtol", "0", "--atol", "0.02")[0] == Exit.MATCH
    assert run("--rtol", "0", "--atol", "0.005")[0] == Exit.DIVERGED


class Evil:
    """Would leave a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x93NUMPY\x01\x00\xff\xff", b"\x93NUMPY\x01\x00v\x00" + b"{" * 118],
    ids=["empty", "garbage", "cut", "header"],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_damaged_files_are_errors(folders: tuple[Path, Path], run: Run, content: bytes, suffix: str) -> None:
    (folders[1] / f"extra.{suffix}").write_bytes(content)
    code, document = run()
    assert (code, document["verdict"]) == (Exit.ERROR, "error")
    assert document["error"]["side"] == "candidate"
    assert f"extra.{suffix}" in document["error"]["message"]


def test_cut_data_is_an_error(folders: tuple[Path, Path], run: Run) -> None:
    file = folders[0] / "image_0.npy"
    file.write_bytes(file.read_bytes()[:-40])
    code, document = run()
    assert (code, document["error"]["slug"], document["error"]["side"]) == (Exit.ERROR, "bad-array", "reference")


@pytest.mark.parametrize("kind", ["object array", "pickle", "object in npz"])
def test_nothing_is_unpickled(folders: tuple[Path, Path], run: Run, tmp_path: Path, kind: str) -> None:
    trap = tmp_path / "trap"
    evil = np.array([Evil(trap)], dtype=object)
    if kind == "object array":
        np.save(folders[1] / "evil.npy", evil, allow_pickle=True)
    elif kind == "pickle":
        (folders[1] / "evil.npy").write_bytes(pickle.dumps(Evil(trap)))
    else:
        np.savez(folders[1] / "evil.npz", evil=evil)
    code, document = run()
    assert (code, document["error"]["slug"]) == (Exit.ERROR, "bad-array")
    assert not trap.exists()


def test_no_such_folder(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(folders[0]), str(folders[0] / "none"), "--format", "json"]) == Exit.ERROR
    assert json.loads(capsys.readouterr().out)["error"]["slug"] == "usage"


def test_text(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    change(folders[1], lambda labels: labels + 1, "label")
    assert main(["data", *map(str, folders)]) == Exit.DIVERGED
    out = capsys.readouterr().out
    assert "offset by +1" in out
    assert "data            diverged" in out
