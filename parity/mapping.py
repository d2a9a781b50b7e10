"""The knowledge of `mappings/`: what an API of the reference is in the candidate.

Files are split at their `[[entry]]` lines and an entry is parsed when it is asked for, so that a lookup costs
milliseconds however many entries there are; `load` parses and checks all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from parity.conventions import Compared, compare, written
from parity.entries import ABSENT, VERIFIED, Entry, File, Initializer, Parameter, Proof, Weight, expanded, pair
from parity.errors import MappingError

__all__ = [
    "ABSENT", "VERIFIED", "Compared", "Entry", "Initializer", "Parameter", "Proof", "Weight", "compare",
    "counterparts", "find", "folder", "load", "lookup", "mentioning", "names", "suggest", "written",
]  # fmt: skip


def folder() -> Path:
    """Where the tables lie: in the package where it was installed, beside it in a source checkout.

    Raises:
        MappingError: Neither is there.
    """
    here = Path(__file__).resolve().parent
    for place in (here / "mappings", here.parent / "mappings"):
        if (place / "torch").is_dir():
            return place
    raise MappingError(f"the tables of mappings/ are missing beside {here}", hint="install parity again")


class _Chunk(msgspec.Struct):
    """One table of a file, not yet parsed: the pairs of names that it is about."""

    family: str
    line: int
    text: str
    pairs: list[tuple[str, str]]


_TABLE = re.compile(r"^\[\[(?:entry|without)\]\]", re.MULTILINE)
_NAME = re.compile(r'^(reference|candidate) = "([^"\n]+)"', re.MULTILINE)
_PAIRS = re.compile(r"^(?:also|pairs) = \[(.*?)\]", re.MULTILINE | re.DOTALL)
_STRING = re.compile(r'"([^"\n]+)"')


def _files() -> list[Path]:
    return sorted((folder() / "torch").glob("*.toml"))


@lru_cache(maxsize=1)
def _chunks() -> list[_Chunk]:
    chunks = []
    for path in _files():
        text = path.read_text(encoding="utf-8")
        starts = [match.start() for match in _TABLE.finditer(text)]
        line = 1 + text.count("\n", 0, starts[0]) if starts else 1
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            body = text[start:end]
            names = dict(_NAME.findall(body))
            pairs = [(names["reference"], names.get("candidate", ""))] if "reference" in names else []
            for block in _PAIRS.findall(body):
                pairs += map(pair, _STRING.findall(block))
            chunks.append(_Chunk(path.stem, line, body, pairs))
            line += body.count("\n")
    return chunks


@lru_cache(maxsize=1)
def _index() -> dict[str, list[int]]:
    """Chunks by the names in them, in lower case."""
    index: dict[str, list[int]] = {}
    for number, chunk in enumerate(_chunks()):
        for name in {name.lower() for names in chunk.pairs for name in names if name}:
            index.setdefault(name, []).append(number)
    return index


@lru_cache(maxsize=4096)
def _entries(number: int) -> list[Entry]:
    chunk = _chunks()[number]
    return _parse(chunk.text, f"mappings/torch/{chunk.family}.toml:{chunk.line}", chunk.family)


def _parse(text: str, where: str, family: str) -> list[Entry]:
    try:
        raw = msgspec.toml.decode(text, type=File)
        entries = [entry for each in raw.entry for entry in expanded(each, family)]
    except (msgspec.MsgspecError, ValueError) as error:
        raise MappingError(f"{where}: {error}", hint="see mappings/README.md for the schema") from None
    for table in raw.without:
        for line in table.pairs:
            reference, candidate = pair(line)
            entries.append(Entry("without", reference, candidate or None, reason=table.reason, family=family))
    return entries


def load() -> list[Entry]:
    """All entries, whole files parsed and checked.

    Raises:
        MappingError: A file does not fit the schema, or a pair of names has two entries.
    """
    entries: list[Entry] = []
    for path in _files():
        entries += _parse(path.read_text(encoding="utf-8"), f"mappings/torch/{path.name}", path.stem)
    seen: dict[tuple[str, str], str] = {}
    for entry in entries:
        if entry.names in seen:
            pair = " -> ".join(filter(None, entry.names))
            raise MappingError(f"{pair} has two entries, in {seen[entry.names]}.toml and {entry.family}.toml")
        seen[entry.names] = entry.family
    return entries


_SHORT = {
    "ms": "mindspore", "f": "torch.nn.functional", "msnn": "mindspore.nn", "mnp": "mindspore.numpy",
    "ds": "mindspore.dataset", "p": "mindspore.ops",
}  # fmt: skip


def _spelt_out(name: str) -> str:
    head, dot, tail = name.partition(".")
    return _SHORT[head] + dot + tail if dot and head in _SHORT else name


def find(name: str) -> list[Entry]:
    """Entries about a name: a full one of either side, its end (`nn.Conv2d`, `Conv2d`), in any case.

    The path of the module where a class is defined is good too (`torch.nn.modules.conv.Conv2d`). Entries where the
    case fits come first, `mindspore.mint` (which CPUs hardly run) and then primitives (`mindspore.ops.ReduceMean`)
    after others, and those that say why there is no counterpart last.
    """
    return list(_found(name.strip()))


@lru_cache(maxsize=4096)
def _found(name: str) -> tuple[Entry, ...]:
    matches = _matcher(_spelt_out(name.lower()))
    found = [entry for entry in _holding(matches) if any(matches(n.lower()) for n in entry.names if n)]
    exact = name.rpartition(".")[2]

    def order(entry: Entry) -> tuple[bool, bool, bool, bool]:
        bare = {known.rpartition(".")[2] for known in entry.names}
        primitive = entry.names[1].startswith("mindspore.ops.") and entry.names[1][14:15].isupper()
        return entry.kind == "without", exact not in bare, primitive, entry.names[1].startswith("mindspore.mint.")

    return tuple(sorted(found, key=order))


def _matcher(wanted: str) -> Callable[[str], bool]:
    """Tells the names that are meant: the name itself; else those that end so; else the same in a package above."""
    known = _index()
    if wanted in known:
        return lambda name: name == wanted
    if any(name.endswith("." + wanted) for name in known):
        return lambda name: name.endswith("." + wanted)
    package, _, last = wanted.rpartition(".")

    def above(name: str) -> bool:
        shorter, _, end = name.rpartition(".")
        return end == last and package.startswith(shorter + ".")

    return above


def _holding(matches: Callable[[str], bool]) -> Iterator[Entry]:
    for number in sorted({number for known, where in _index().items() if matches(known) for number in where}):
        yield from _entries(number)


def names() -> list[str]:
    """All full names of both sides, as they are written."""
    return sorted({known for chunk in _chunks() for pair in chunk.pairs for known in pair if known})


def mentioning(word: str) -> list[Entry]:
    """Entries in whose text a word stands: an argument, a weight, a value."""
    whole = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    return [e for i, chunk in enumerate(_chunks()) if whole.search(chunk.text) for e in _entries(i) if not e.alias_of]


def suggest(name: str, count: int = 5) -> list[str]:
    """Known names that look like a misspelt one, best first."""
    wanted = _spelt_out(name.strip().lower())
    full = {known.lower(): known for chunk in _chunks() for names in chunk.pairs for known in names if known}
    bare: dict[str, list[str]] = {}
    for known in sorted(full):
        bare.setdefault(known.rpartition(".")[2], []).append(full[known])
    best = list(difflib.get_close_matches(wanted, full, count, 0.75)) if "." in wanted else []
    names = [full[each] for each in best]
    for each in difflib.get_close_matches(wanted.rpartition(".")[2], bare, count, 0.6):
        names += bare[each]
    return list(dict.fromkeys(names))[:count]


def counterparts(reference: str) -> list[Entry]:
    """The entries of one API of the reference that have a candidate. The name may be full or bare."""
    return [e for e in find(reference) if e.candidate and _ends(e.reference, reference)]


def lookup(reference: str, candidate: str, arguments: Mapping[str, Any] | None = None) -> Entry | None:
    """The entry of a pair of classes or functions.

    Args:
        reference: Full or bare name on the reference's side.
        candidate: Full or bare name on the candidate's side.
        arguments: The candidate's effective arguments; of several classes with the same bare name, the one whose
            signature they fit best is taken.
    """
    found = [e for e in counterparts(reference) if e.candidate and _ends(e.candidate, candidate) and e.parameters]
    if not found:
        return None
    layers_first = sorted(found, key=lambda e: e.kind == "function")
    return max(layers_first, key=lambda e: _fit(e, arguments or {}))


def _ends(known: str, asked: str) -> bool:
    known, asked = known.lower(), _spelt_out(asked.lower())
    same_end = known.rpartition(".")[2] == asked.rpartition(".")[2]
    return known == asked or known.endswith("." + asked) or (same_end and asked.startswith(known.rpartition(".")[0]))


def _fit(entry: Entry, arguments: Mapping[str, Any]) -> tuple[int, int]:
    """How well a signature fits arguments: those it has not, then those that are missing, fewest first."""
    names = {p.candidate for p in entry.parameters if p.candidate}
    return (-len(arguments.keys() - names), -len(names - arguments.keys())) if arguments else (0, 0)
