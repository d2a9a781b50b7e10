"""The edit loop: a reference that is unchanged is not run again, and one that is not is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TRAINS, Parity

from parity.reuse import KEPT, References

REFERENCE = """
import sys
from helper import SIZE
with open("data.txt") as file:
    file.read()
with open("runs", "a") as file:
    print(sys.argv[1:], file=file)
""" + TRAINS.format(steps=3, after="")


@pytest.fixture
def project(parity: Parity) -> Parity:
    """A reference that counts its runs, and a candidate that fails at once: only the reference's capture takes time."""
    parity.write("ref.py", REFERENCE)
    parity.write("helper.py", "SIZE = 4\n")
    parity.write("data.txt", "12")
    parity.write("cand.py", "raise SystemExit(3)")
    return parity


def runs(parity: Parity, *words: str) -> int:
    """Compares, and counts how often the reference has run by now."""
    done = parity("compare", "ref.py", "cand.py", *words)
    assert done.code == 2
    assert "the candidate script failed" in done.err
    return len((parity.folder / "runs").read_text().splitlines())


def edit_script(parity: Parity) -> list[str]:
    parity.write("ref.py", REFERENCE + "\n# a comment\n")
    return []


def edit_module(parity: Parity) -> list[str]:
    parity.write("helper.py", "SIZE = 5\n")
    return []


def edit_data(parity: Parity) -> list[str]:
    parity.write("data.txt", "123")
    return []


def set_variable(parity: Parity) -> list[str]:
    parity.environment["DATA_ROOT"] = "/elsewhere"
    return []


@pytest.mark.parametrize(
    "change",
    [
        edit_script,
        edit_module,
        edit_data,
        set_variable,
        lambda _: ["--steps", "2"],
        lambda _: ["--reference-args", "--lr 1"],
        lambda _: ["--fresh"],
    ],
    ids=["script", "module", "data", "environment", "steps", "arguments", "fresh"],
)
def test_what_makes_it_run_again(project: Parity, change: Callable[[Parity], list[str]]) -> None:
    assert runs(project) == 1
    assert runs(project, *change(project)) == 2


def test_unchanged_is_not_run_again(project: Parity) -> None:
    assert runs(project) == 1
    project.write("cand.py", "raise SystemExit(4)")
    project.write("notes.txt", "a new file in the script's folder")
    project.environment["COLUMNS"] = "77"
    assert runs(project) == 1
    again = project("compare", "ref.py", "cand.py", "--keep", "kept")
    assert "was used again (--fresh runs it anew)" in again.err
    assert (project.folder / "kept" / "reference.trace" / "meta.json").is_file()
    assert len((project.folder / "runs").read_text().splitlines()) == 1


def test_the_document_says_so(project: Parity) -> None:
    project.write("cand.py", REFERENCE)
    first = project("compare", "ref.py", "cand.py", "--format", "json")
    again = project("compare", "ref.py", "cand.py", "--format", "json")
    assert (first.code, again.code) == (0, 0), again.err
    assert not any("used again" in note for note in first.document["reference"]["notes"])
    assert any("used again" in note for note in again.document["reference"]["notes"])


def test_a_damaged_copy_is_made_anew(project: Parity) -> None:
    assert runs(project) == 1
    (copy,) = (project.folder / "cache" / "parity" / "references").iterdir()
    events = copy / "reference.trace" / "events.jsonl"
    events.unlink()
    events.write_bytes(b"{")
    assert runs(project) == 2


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    references = References()
    for number in range(KEPT + 2):
        (references.folder / f"{number}").mkdir(parents=True)
        os.utime(references.folder / f"{number}", (number, number))
    references._forget_old()
    assert {entry.name for entry in references.folder.iterdir()} == {str(n) for n in range(2, KEPT + 2)}


def test_nothing_is_left_in_the_scripts_folder(project: Parity) -> None:
    """No bytecode of its modules, also not by workers that import it anew."""
    before = {path.name for path in project.folder.iterdir()} | {"runs", "cache"}
    runs(project)
    assert {path.name for path in project.folder.iterdir()} == before


def test_opened_files_are_told_apart(tmp_path: Path) -> None:
    """What a run wrote itself is no input, and what belongs to the environment neither, apart from its versions."""
    (tmp_path / "script.py").write_text("")
    for name in ("read", "written", "appended", "both"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder").mkdir()
    code = """
import json, os
from pathlib import Path
from parity.capture.inputs import Watch
watch = Watch()
open("read").close()
open("written", "w").close()
open("appended", "a").close()
open("both").close(); open("both", "r+").close()
os.listdir("folder")
found = watch.inputs(Path("script.py"))
base = os.getcwd() + "/"
kinds = (found.sources, found.files, found.folders)
print(json.dumps([sorted(p[len(base):] for p in kind if p.startswith(base)) for kind in kinds]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == '[["script.py"], ["read"], ["folder"]]\n', done.stderr
