"""What is noted of options, configuration files and loops over epochs, by running small scripts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.capture.configured import Configurations, tree
from parity.capture.loops import Loop, epochs
from parity.capture.run import run_script
from parity.capture.source import Source

OPTIONS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--amp", action="store_true")
parser.add_argument("task")
args = parser.parse_args()
"""

FILES = """
import json
from json import loads
from pathlib import Path
try:
    import tomllib
except ImportError:
    import tomli as tomllib
here = Path(__file__).parent
with open(here / "config.json") as file:
    config = json.load(file)
with open(here / "more.toml", "rb") as file:
    more = tomllib.load(file)
text = loads('{"depth": [1, 2]}')
rows = json.loads("[1, 2]")
"""


class Script:
    """Runs a text as a script, and keeps what was told of its settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[str, dict[str, Any], list[str]]] = []

    def run(self, text: str, *words: str) -> None:
        path = self.folder / "script.py"
        path.write_text(text)
        source = Source(path)
        with Configurations(source, lambda form, _, values, given: self.told.append((form, values, given))):
            outcome = run_script(path, list(words), [])
        assert outcome.kind == "ended", outcome.text


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_options(script: Script) -> None:
    before = argparse.ArgumentParser.parse_known_args
    script.run(OPTIONS, "--lr=0.2", "classify", "--amp")
    values = {"lr": 0.2, "batch_size": 8, "amp": True, "task": "classify"}
    assert script.told == [("argparse", values, ["lr", "amp", "task"])]
    assert argparse.ArgumentParser.parse_known_args is before


def test_files(script: Script) -> None:
    before = json.load
    (script.folder / "config.json").write_text('{"model": {"width": 4}, "tags": ["a"]}')
    (script.folder / "more.toml").write_text("[optim]\nlr = 0.5\n")
    hooks = list(sys.meta_path)
    script.run(FILES)
    assert script.told == [
        ("config.json", {"model": {"width": 4}, "tags": ["a"]}, []),
        ("more.toml", {"optim": {"lr": 0.5}}, []),
        ("json", {"depth": [1, 2]}, []),
    ]
    assert json.load is before
    assert sys.meta_path == hooks


def test_what_a_library_reads_is_not_the_scripts(script: Script) -> None:
    script.run("import json, functools\njson.JSONDecoder().decode('{}')\n")
    assert script.told == []


def test_a_large_document_is_data() -> None:
    assert tree({str(n): n for n in range(2000)}) is None
    assert tree({"a": {"b": object()}, "c": 2**70}) == {"a": {"b": "object"}, "c": str(2**70)}


LOOPS = """
import argparse
{setting}
def train(loader):
    for step, batch in enumerate(loader):
        pass

def main(loader, options):
    {loop}

main(LOADER, argparse.Namespace(epochs=7))
"""


class Loader:
    """Asks for the epochs whenever an item is read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Loop | None] = []

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> None:
        self.found.append(epochs(self.source))
        raise StopIteration


@pytest.mark.parametrize(
    ("setting", "loop", "rounds"),
    [
        ("E = 5", "for epoch in range(1, E + 1): train(loader)", 5),
        ("", "for e in range(options.epochs):\n        for b in loader: pass\n        break", 7),
        ("C = {'n': 3}", "for e in range(C['n']):\n        train(\n            loader)", 3),
        ("", "train(loader)", None),
        ("", "for fold in range(2):\n        for e in range(4): train(loader)", None),
        ("", "while True:\n        train(loader)\n        break", None),
        ("", "for e in range(len(str(options))): train(loader)", None),
        ("", "for e in range(4):\n        e += 1\n        train(loader)", None),
        ("", "for e in range(4):\n        list(loader)", None),
        ("", "for x in [1, 2]: train(loader)", None),
    ],
)
def test_loops_over_epochs(tmp_path: Path, setting: str, loop: str, rounds: int | None) -> None:
    path = tmp_path / "script.py"
    path.write_text(LOOPS.format(setting=setting, loop=loop))
    loader = Loader(Source(path))
    exec(compile(path.read_text(), str(path), "exec"), {"LOADER": loader, "__name__": "__main__"})
    first = loader.found[0]
    assert (first.rounds if first is not None else None) == rounds
