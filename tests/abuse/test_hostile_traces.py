"""Traces from strangers: an error or a safe reading, never code, a file outside, or a traceback of parity's own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TRAINS, Done, Parity

from parity.cli import main


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reference's script, its trace, and a trace that was synchronised with it."""
    parity = Parity(tmp_path_factory.mktemp("good"))
    parity.write("ref.py", TRAINS.format(steps=1, after=""))
    assert parity("capture", "ref.py", "-o", "ref.trace", "--steps", "1").code == 0
    assert parity("capture", "ref.py", "--sync", "ref.trace", "-o", "cand.trace", "--steps", "1").code == 0
    return parity.folder


class Forged(Parity):
    """Both traces, to be damaged. Comparing them runs nothing, so that it can be done in this process."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: str | Path) -> Done:
        if not any(str(word).endswith(".py") for word in words):
            code = main([str(word) for word in words])
            out, err = self.capture.readouterr()
            return Done(code, out, err)
        return super().__call__(*words)


@pytest.fixture
def forged(tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Forged:
    for name in ("ref.trace", "cand.trace"):
        shutil.copytree(good / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forged = Forged(tmp_path)
    forged.capture = capfd
    return forged


def compare(forged: Forged, *words: str) -> Done:
    done = forged("compare", "ref.trace", "cand.trace", "--format", "json", *words)
    assert done.code in (0, 1, 2, 3)
    assert "Traceback" not in done.err, done.err
    assert "parity itself failed" not in done.err
    assert "\x1b" not in done.out + done.err
    return done


def change(path: Path, edit: Callable[[Any], None]) -> None:
    """Edits a JSON file in place."""
    whole = json.loads(path.read_text())
    edit(whole)
    path.write_text(json.dumps(whole))


def change_events(path: Path, kind: str, edit: Callable[[Any], None]) -> None:
    """Edits all records of one kind in an events file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["type"] == kind:
            edit(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_good_ones_match(forged: Forged) -> None:
    assert compare(forged).code == 0


class TestFiles:
    @pytest.mark.parametrize("name", ["meta.json", "layers.json", "events.jsonl", "noise.json", "tensors"])
    def test_symbolic_links(self, forged: Forged, name: str) -> None:
        path = forged.folder / "ref.trace" / name
        path.rename(forged.folder / "outside")
        path.symlink_to(forged.folder / "outside")
        done = compare(forged)
        assert done.document["error"]["slug"] == "bad-trace"
        assert "symbolic link" in done.document["error"]["message"]

    @pytest.mark.parametrize("target", ["/dev/zero", "/dev/stdin", "/etc/passwd", "/proc/self/mem"])
    def test_links_to_devices(self, forged: Forged, target: str) -> None:
        path = forged.folder / "ref.trace" / "events.jsonl"
        path.unlink()
        path.symlink_to(target)
        assert compare(forged).document["error"]["slug"] == "bad-trace"

    @pytest.mark.parametrize("name", ["meta.json", "layers.json", "events.jsonl", "tensors/00000.safetensors"])
    def test_pipes(self, forged: Forged, name: str) -> None:
        """Opening one would wait for ever."""
        path = forged.folder / "ref.trace" / name
        path.unlink()
        os.mkfifo(path)
        assert compare(forged).code in (2, 3)

    @pytest.mark.parametrize("name", ["meta.json", "layers.json", "events.jsonl"])
    def test_folders_in_the_place_of_files(self, forged: Forged, name: str) -> None:
        path = forged.folder / "ref.trace" / name
        path.unlink()
        path.mkdir()
        assert compare(forged).code in (2, 3)

    @pytest.mark.parametrize("name", ["meta.json", "layers.json", "noise.json"])
    def test_huge_files(self, forged: Forged, name: str) -> None:
        os.truncate(forged.folder / "ref.trace" / name, 2**40)
        assert compare(forged).document["error"]["slug"] == "bad-trace"

    def test_a_line_without_end(self, forged: Forged) -> None:
        os.truncate(forged.folder / "ref.trace" / "events.jsonl", 2**34)
        assert compare(forged).document["error"]["slug"] == "bad-trace"

    @pytest.mark.parametrize("name", ["meta.json", "layers.json", "events.jsonl", "noise.json"])
    @pytest.mark.parametrize(
        "content", [b"", b"\x00" * 99, b"\xff\xfe", b"null\n", b"[[[[", b'{"a": NaN}\n', b"1e999\n"]
    )
    def test_garbage(self, forged: Forged, name: str, content: bytes) -> None:
        (forged.folder / "ref.trace" / name).write_bytes(content)
        done = compare(forged)
        assert done.code in (2, 3)

    def test_a_file_called_trace(self, forged: Forged) -> None:
        forged.write("file.trace", "not a folder")
        done = forged("compare", "file.trace", "cand.trace", "--format", "json")
        assert done.document["error"]["slug"] == "bad-trace"

    def test_an_empty_folder(self, forged: Forged) -> None:
        (forged.folder / "empty.trace").mkdir()
        done = forged("capture", "gone.py", "--sync", "empty.trace", "-o", "x.trace", "--format", "json")
        assert done.code == 2

    @pytest.mark.parametrize("size", [1, 100, 1000, 4000])
    @pytest.mark.parametrize("name", ["meta.json", "layers.json", "events.jsonl", "tensors/00000.safetensors"])
    def test_truncated(self, forged: Forged, name: str, size: int) -> None:
        path = forged.folder / "cand.trace" / name
        if path.stat().st_size > size:
            os.truncate(path, size)
            assert compare(forged).code in (2, 3)


class TestRecords:
    @pytest.mark.parametrize("steps", [-1, 10**6, 10**15])
    def test_steps_without_records(self, forged: Forged, steps: int) -> None:
        change(forged.folder / "ref.trace" / "meta.json", lambda meta: meta.update(steps=steps))
        error = compare(forged).document["error"]
        assert error["slug"] == "bad-trace"
        assert "records" in error["message"]

    @pytest.mark.parametrize(
        "meta",
        [
            {"schema": 10**30},
            {"steps": -1},
            {"steps": 10**15},
            {"steps": 2**70},
            {"mapping": {"pairs": 3, "nodes": 4, "agreed": 1}},
            {"mapping": {"pairs": [], "nodes": [{}], "agreed": 1}},
            {"mapping": {"pairs": [{"reference": "0.weight"}], "nodes": [], "agreed": 1}},
            {"mapping": {"nodes": "abc"}},
            {"mapping": [1]},
            {"environment": {"updates": [1], "seeds": 3, "model_called": {}}},
            {"seeds": {"x": {"y": [None]}}},
            {"notes": ["\x1b[2J\x1b]0;title\x07", "\u202egnp.exe"]},
            {"framework": "\x1b[31m", "version": "\x9b31m", "python": "\r\n"},
            {"script": "../../../etc/passwd", "folder": "/", "command": ["rm", "-rf", "/"]},
            {"error": {"text": 3}},
            {"timings": {"script": 1e308}},
            {"inference": True},
        ],
        ids=lambda value: json.dumps(value)[:40],
    )
    @pytest.mark.parametrize("name", ["ref.trace", "cand.trace"])
    def test_meta(self, forged: Forged, name: str, meta: dict[str, Any]) -> None:
        change(forged.folder / name / "meta.json", lambda whole: whole.update(meta))
        compare(forged)

    @pytest.mark.parametrize(
        "call",
        [
            {"id": 0, "end": 0},
            {"parent": 0},
            {"parent": 10**18},
            {"layer": 10**6},
            {"layer": -1},
            {"step": -5},
            {"step": 10**17},
            {"call": 10**12},
            {"path": "\x1b[31m.weight"},
            {"path": "../../x"},
            {"inputs": [], "outputs": []},
            {"end": -1},
        ],
        ids=lambda value: json.dumps(value)[:40],
    )
    def test_calls(self, forged: Forged, call: dict[str, Any]) -> None:
        """Duplicate numbers, cycles, layers that are not there, absurd counts."""
        for name in ("ref.trace", "cand.trace"):
            change_events(forged.folder / name / "events.jsonl", "call", lambda event: event.update(call))
        compare(forged)

    @pytest.mark.parametrize("shape", [[0, 2**62], [2**62, 2**62], [-1], [2**31], [1] * 100, []])
    def test_shapes(self, forged: Forged, shape: list[int]) -> None:
        def edit(event: Any) -> None:
            for item in event["outputs"]:
                item[2][2] = shape

        change_events(forged.folder / "cand.trace" / "events.jsonl", "call", edit)
        compare(forged)

    @pytest.mark.parametrize("dtype", ["object", "float16", "complex64", "S10", "", "float64 "])
    def test_element_types(self, forged: Forged, dtype: str) -> None:
        def edit(event: Any) -> None:
            for item in event["outputs"]:
                item[2][1] = dtype

        change_events(forged.folder / "cand.trace" / "events.jsonl", "call", edit)
        assert compare(forged).code in (2, 3)

    @pytest.mark.parametrize(
        "layer",
        [
            {"id": 0},
            {"path": ""},
            {"path": "\x1b[31mred\x1b[0m", "type": "\x1b]8;;http://x\x07"},
            {"children": ["0", "0", "../.."]},
            {"file": "/etc/passwd", "line": -3},
            {"root": True},
            {"arguments": {"x": [[[[1]]]]}, "given": ["y"]},
        ],
        ids=lambda value: json.dumps(value)[:40],
    )
    def test_layers(self, forged: Forged, layer: dict[str, Any]) -> None:
        def edit(whole: Any) -> None:
            for each in whole["layers"]:
                each.update(layer)

        for name in ("ref.trace", "cand.trace"):
            change(forged.folder / name / "layers.json", edit)
        compare(forged)

    def test_parameters_twice(self, forged: Forged) -> None:
        change(
            forged.folder / "cand.trace" / "layers.json", lambda whole: whole["parameters"].extend(whole["parameters"])
        )
        compare(forged)

    def test_no_parameters(self, forged: Forged) -> None:
        change(forged.folder / "cand.trace" / "layers.json", lambda whole: whole.update(parameters=[]))
        assert compare(forged).code in (1, 2, 3)

    def test_a_negative_noise(self, forged: Forged) -> None:
        path = forged.folder / "ref.trace" / "noise.json"
        path.write_text(json.dumps([[*record[:5], -1e300, -1.0] for record in json.loads(path.read_text())]))
        compare(forged)

    def test_escapes_in_the_text_report(self, forged: Forged) -> None:
        change(forged.folder / "ref.trace" / "meta.json", lambda whole: whole.update(command=["\x1b[2J", "\u202e"]))
        change(forged.folder / "cand.trace" / "meta.json", lambda whole: whole.update(notes=["\x07\x1b[31m"]))
        done = forged("compare", "ref.trace", "cand.trace")
        assert "\x1b" not in done.out + done.err and "\u202e" not in done.out and "\x07" not in done.out


class TestBesideAScript:
    """What a stranger's candidate does to the reference's script, which the user runs."""

    @pytest.mark.parametrize(
        "meta",
        [
            {"mapping": {"pairs": [{"reference": "0.weight"}], "nodes": [], "agreed": 1}},
            {"mapping": None},
            pytest.param({"steps": 10**12}, marks=pytest.mark.full),
            pytest.param({"mapping": {"pairs": 1}}, marks=pytest.mark.full),
        ],
        ids=lambda value: json.dumps(value)[:40],
    )
    def test_forced(self, forged: Forged, good: Path, meta: dict[str, Any]) -> None:
        change(forged.folder / "cand.trace" / "meta.json", lambda whole: whole.update(meta))
        done = forged("compare", good / "ref.py", "cand.trace", "--steps", "1", "--format", "json")
        assert done.code in (0, 1, 2, 3)
        assert "Traceback" not in done.err, done.err

    def test_missing_tensors(self, forged: Forged, good: Path) -> None:
        shutil.rmtree(forged.folder / "cand.trace" / "tensors")
        done = forged("compare", good / "ref.py", "cand.trace", "--steps", "1", "--format", "json")
        assert done.code == 2
        assert done.document["error"]["slug"] == "bad-trace"
        assert "Traceback" not in done.err, done.err
