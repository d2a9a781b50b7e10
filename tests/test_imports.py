"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "parity").rglob("*.py"))
FRAMEWORKS = {"torch", "mindspore", "tensorflow", "keras"}

GROUND = {"errors", "model"}
MAPPINGS = {"mapping", "entries", "conventions", "transforms", "search"}
COMMON = {
    *("trace", "tensors", "digest", "statistics", "words", "sample", "samples"),
    *("tolerance", "document", "options", "measured", "noise", "space"),
    *MAPPINGS,
}
JUDGEMENT = ["align", "data", "compare", "diagnose", "report"]
TOP = {
    *("pipeline", "cli", "commands", "tables", "config", "saved", "doctor", "arguments", "console", "runs", "reuse"),
    *("pytest_plugin", "__init__", "__main__"),
}


def area(name: str) -> str:
    """The part of the package that a module belongs to: `parity.capture.run` to `capture`."""
    return (name.split(".") + ["__init__"])[1]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file, by statement or by `import_module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                below = ROOT / node.module.replace(".", "/") / alias.name if node.module else ROOT
                is_module = below.is_dir() or below.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else str(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def allowed(importer: str) -> set[str]:
    """The areas that an area may import from."""
    if importer in GROUND:
        return GROUND
    if importer in COMMON:
        return GROUND | COMMON
    if importer == "capture":
        return GROUND | COMMON | {"capture", "align"}
    if importer == "proofs":
        return GROUND | COMMON | {"proofs"}
    if importer in JUDGEMENT:
        return GROUND | COMMON | set(JUDGEMENT[: JUDGEMENT.index(importer) + 1])
    assert importer in TOP, f"parity/{importer} has no place in the order yet"
    return GROUND | COMMON | {"capture", "proofs"} | set(JUDGEMENT) | TOP


@pytest.mark.parametrize("path", FILES, ids=module)
def test_layers(path: Path) -> None:
    own = [name for name in imports(path) if name.partition(".")[0] == "parity"]
    if path.name == "__init__.py" and path.parent.name != "parity":
        importer = path.parent.relative_to(ROOT).parts[1]
    else:
        importer = area(module(path))
    assert {area(name) for name in own} - allowed(importer) == set()


@pytest.mark.parametrize("path", FILES, ids=module)
def test_frameworks_stay_in_their_adapters(path: Path) -> None:
    if path.is_relative_to(ROOT / "parity" / "capture" / "frameworks") or path.parent.name == "proofs":
        return
    assert {name.partition(".")[0] for name in imports(path)} & FRAMEWORKS == set()


@pytest.mark.parametrize("path", [p for p in FILES if "capture" in p.parts], ids=module)
def test_capture_needs_little_of_the_users_environment(path: Path) -> None:
    known = {*sys.stdlib_module_names, "parity", "numpy", "msgspec"}
    if path.parent.name == "frameworks":
        known |= FRAMEWORKS
    assert {name.partition(".")[0] for name in imports(path)} - known == set()


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_import_parity_is_light() -> None:
    loaded = loaded_by("import parity")
    assert "parity" in loaded
    assert loaded & {"numpy", "msgspec", "click", "rich", *FRAMEWORKS} == set()


def test_the_command_line_parses_without_numpy() -> None:
    assert loaded_by("import parity.cli") & {"numpy", "rich", *FRAMEWORKS} == set()
