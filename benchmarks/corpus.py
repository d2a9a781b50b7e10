"""The corpus of known faults and of rewrites without one: what `faults/<architecture>/` holds, as data.

Every architecture has a clean pair of scripts, `ref.py` (PyTorch) and `ms.py` (MindSpore), and a `variants.toml`
whose entries are edits of that pair: a `[[fault]]` breaks the migration at a known place, a `[[benign]]` says the same
thing in other words. `names.toml` pairs the layers of the two scripts; only the verification of the corpus reads it,
the tool under test never does.

The keys of an entry:

* `name`, and of a fault `kind`, its family;
* `find` and `replace`, an edit of `ms.py`; `find_ref` and `replace_ref`, one of `ref.py`; the lists `more` and
  `more_ref` hold further edits. Every piece of text to find occurs exactly once;
* of a fault `stage`, `candidate` and `reference`: where the first finding may be. The enclosing layer comes first; of a
  fault in code between layers, the layer that consumes the value follows, and of one in the backward pass the layer
  whose gradient it spoils. "" is the root model or the training loop;
* `names`, where a benign rewrite renames or fuses layers: `"q" = "qkv[0:32]"` is a range of rows;
* `short` and `why`.

After a change: `python benchmarks/verify.py` for rewrites, `python benchmarks/detection.py --effects` for faults.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest and mypy bring it along there
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

FAULTS = Path(__file__).resolve().parent / "faults"
STEPS = 3
UNMODIFIED = "unmodified"

STAGES = frozenset(
    {
        "environment",
        "hyperparameters",
        "structure",
        "initialization",
        "data",
        "forward",
        "loss",
        "backward",
        "optimizer",
        "training",
        "metrics",
    }
)


class CorpusError(ValueError):
    """An entry of the corpus that does not say what it must; the message names the file and the entry."""


@dataclass(frozen=True)
class Edit:
    """One replacement of a piece of text that occurs exactly once in a script."""

    find: str
    replace: str


@dataclass(frozen=True)
class Variant:
    """One edit of a clean pair, with what a correct comparison says about it.

    Attributes:
        architecture: The folder below `faults/`.
        name: Unique within the architecture.
        kind: The family of the fault, or "" where there is none.
        edits: The edits of `ms.py`.
        edits_ref: The edits of `ref.py`.
        stage: Stages in which the first finding may be; empty where there is no fault.
        candidate: Layer paths of `ms.py` that the first finding may name. "" is the root or the training loop.
        reference: Layer paths of `ref.py` that the first finding may name.
        names: Pairs of layers that differ from those in `names.toml`, for renamed or fused layers.
        short: Whether it belongs to the sample that CI runs.
        why: What the entry is about, where the edit does not say it.
    """

    architecture: str
    name: str
    kind: str
    edits: tuple[Edit, ...]
    edits_ref: tuple[Edit, ...]
    stage: tuple[str, ...]
    candidate: tuple[str, ...]
    reference: tuple[str, ...]
    names: Mapping[str, str]
    short: bool
    why: str

    @property
    def benign(self) -> bool:
        """Whether a correct comparison finds nothing."""
        return not self.kind

    @property
    def label(self) -> str:
        """The name by which tables show it."""
        return f"{self.architecture}/{self.name}"

    def scripts(self) -> tuple[str, str]:
        """Gives the texts of the edited `ref.py` and `ms.py`.

        Raises:
            CorpusError: A piece of text to replace does not occur exactly once.
        """
        folder = FAULTS / self.architecture
        return (
            self._edited(folder / "ref.py", self.edits_ref),
            self._edited(folder / "ms.py", self.edits),
        )

    def write(self, folder: Path) -> None:
        """Writes the edited `ref.py` and `ms.py` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(("ref.py", "ms.py"), self.scripts(), strict=True):
            (folder / name).write_text(text, encoding="utf-8")

    def digest(self) -> str:
        """Identifies the clean and the edited scripts, so that a cached measurement can be told to be stale."""
        parts = [*self.scripts(), (FAULTS / self.architecture / "ms.py").read_text(encoding="utf-8")]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _edited(self, script: Path, edits: Iterable[Edit]) -> str:
        text = script.read_text(encoding="utf-8")
        for edit in edits:
            count = text.count(edit.find)
            if count != 1:
                raise CorpusError(f"{self.label}: {edit.find!r} occurs {count} times in {script}, it must occur once")
            if edit.find == edit.replace:
                raise CorpusError(f"{self.label}: the edit of {edit.find!r} changes nothing")
            text = text.replace(edit.find, edit.replace)
        return text


def architectures() -> list[str]:
    """Names every architecture of the corpus, in alphabetical order."""
    return sorted(path.parent.name for path in FAULTS.glob("*/variants.toml"))


def load(architecture: str) -> list[Variant]:
    """Reads the variants of one architecture; the first is the unmodified pair itself.

    Raises:
        CorpusError: An entry lacks something, has an unknown stage or key, or has a name that is taken.
    """
    path = FAULTS / architecture / "variants.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    variants = [_variant(architecture, {"name": UNMODIFIED}, fault=False)]
    variants += [_variant(architecture, table, fault=False) for table in document.get("benign", [])]
    variants += [_variant(architecture, table, fault=True) for table in document.get("fault", [])]
    seen: set[str] = set()
    for variant in variants:
        if variant.name in seen:
            raise CorpusError(f"{path}: the name {variant.name!r} is taken")
        seen.add(variant.name)
    return variants


def check(variants: Iterable[Variant]) -> list[str]:
    """Applies every edit in memory and gives what is wrong, one sentence each."""
    problems = []
    for variant in variants:
        try:
            reference, candidate = variant.scripts()
            compile(reference, f"{variant.label}/ref.py", "exec")
            compile(candidate, f"{variant.label}/ms.py", "exec")
        except (CorpusError, SyntaxError) as error:
            problems.append(str(error))
    return problems


def layer_names(architecture: str) -> dict[str, str]:
    """Reads `names.toml`: for every layer of `ref.py` that holds something, its counterpart in `ms.py`."""
    path = FAULTS / architecture / "names.toml"
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["layers"])


def cached_effects(architecture: str) -> dict[str, dict[str, Any]]:
    """Reads `effects.json`: for every fault its true effect, as `effects.py` has measured it."""
    path = FAULTS / architecture / "effects.json"
    if not path.exists():
        return {}
    document: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _variant(architecture: str, table: Mapping[str, Any], *, fault: bool) -> Variant:
    where = f"{architecture}/variants.toml, {table.get('name', 'an entry without a name')}"
    known = {"name", "find", "replace", "find_ref", "replace_ref", "more", "more_ref", "names", "short", "why"}
    required = {"name", "kind", "stage", "candidate", "reference"} if fault else {"name"}
    if unknown := table.keys() - known - required:
        raise CorpusError(f"{where}: unknown keys {sorted(unknown)}")
    if missing := required - table.keys():
        raise CorpusError(f"{where}: lacks {sorted(missing)}")
    if (fault and not table["stage"]) or set(table.get("stage", ())) - STAGES:
        raise CorpusError(f"{where}: stage must be a list of {sorted(STAGES)}")
    if fault and not table["candidate"] and not table["reference"]:
        raise CorpusError(f"{where}: names no place")
    return Variant(
        architecture=architecture,
        name=table["name"],
        kind=table.get("kind", ""),
        edits=_edits(table, "find", "replace", "more"),
        edits_ref=_edits(table, "find_ref", "replace_ref", "more_ref"),
        stage=tuple(table.get("stage", ())),
        candidate=tuple(table.get("candidate", ())),
        reference=tuple(table.get("reference", ())),
        names=dict(table.get("names", {})),
        short=bool(table.get("short", False)),
        why=table.get("why", ""),
    )


def _edits(table: Mapping[str, Any], find: str, replace: str, more: str) -> tuple[Edit, ...]:
    edits = [Edit(table[find], table[replace])] if find in table else []
    edits += [Edit(entry["find"], entry["replace"]) for entry in table.get(more, [])]
    return tuple(edits)
