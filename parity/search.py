"""The entries that a person means: names as scripts write them, names of weights, arguments and values."""

from __future__ import annotations

import re
from collections.abc import Iterator

from parity import mapping
from parity.mapping import Entry

_MOST = 30
"""Entries shown for a word that is no name of an API."""

_PACKAGES = frozenset({"torch", "torchvision", "torchaudio", "torchtext", "mindspore", "ms", "nn", "f", "ops", "mint"})

_KINDS = ("layer", "loss", "optimizer", "schedule", "data", "transform", "amp")


def search(name: str) -> list[Entry]:
    """Entries about a name, by the first of these that finds any.

    The name itself (`mapping.find`); with other underscores (`he_uniform`); without the name that a script gave a
    package or an object (`P.MatMul`, `loss.backward`); a weight in a checkpoint (`bn1.running_mean`); an argument
    (`keep_prob`); a value of one in quotes (`O2`).
    """
    name = name.strip()
    for spelling in _spellings(name):
        if found := mapping.find(spelling):
            return found
    word = name.rpartition(".")[2]
    if not re.fullmatch(r"[A-Za-z]\w+", word) or name.lower().startswith(("torch", "mindspore")):
        return []
    about = mapping.mentioning(word)
    held = [e for e in about if any(word in _ends(w.reference, w.candidate) for w in e.weights)]
    if held or word != name:
        return sorted(held, key=lambda e: _rank(e, word))[:_MOST]
    taking = [e for e in about if any(word in (p.reference, p.candidate) for p in (*e.parameters, *e.call))]
    if taking:
        return sorted(taking, key=lambda e: _rank(e, word))[:_MOST]
    quoted = re.compile(rf"['\"`]{re.escape(word)}['\"`]")
    return [e for e in about if any(quoted.search(sentence) for sentence in e.semantics)][:_MOST]


def _spellings(name: str) -> Iterator[str]:
    yield name
    yield from _respelt(name)
    head, dot, rest = name.partition(".")
    while dot and head.lower() not in _PACKAGES:
        yield rest
        yield from _respelt(rest)
        head, dot, rest = rest.partition(".")


def _respelt(name: str) -> Iterator[str]:
    wanted = _squashed(name)
    for known in mapping.names():
        if ("." + _squashed(known)).endswith("." + wanted):
            yield ".".join(known.split(".")[-1 - name.count(".") :])


def _squashed(name: str) -> str:
    """Without case and inner underscores; the last one of an in-place function stays."""
    return re.sub(r"_(?=.)", "", name.lower())


def _ends(*names: str | None) -> set[str]:
    return {name.rpartition(".")[2] for name in names if name}


def _rank(entry: Entry, word: str) -> tuple[bool, bool, int]:
    """Where the word makes a difference first, then by kind, `mindspore.mint` after others."""
    renamed = any(word in (w.reference, w.candidate) and w.reference != w.candidate for w in entry.weights)
    rows = [p for p in entry.parameters if word in (p.reference, p.candidate)]
    told = renamed or any(p.differs or p.reference != p.candidate for p in rows)
    kind = _KINDS.index(entry.kind) if entry.kind in _KINDS else len(_KINDS)
    return not told, entry.names[1].startswith("mindspore.mint."), kind
