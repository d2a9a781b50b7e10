"""`parity explain`: entries of the tables as data, and as text."""

from __future__ import annotations

import math
import re
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from parity.mapping import ABSENT, Entry, Parameter, written

_CPU = {
    "missing": "There is no CPU kernel in MindSpore 2.10: it runs on Ascend or GPU only.",
    "raises": "It raises on CPU in MindSpore 2.10.",
    "crashes": "It crashes the process on CPU in MindSpore 2.10 (segmentation fault).",
}

_FRAMEWORKS = {"torch": "PyTorch", "mindspore": "MindSpore"}


def explanation(entries: list[Entry]) -> dict[str, Any]:
    """The document of `parity explain --format json`."""
    return {"schema": 1, "entries": [_document(entry) for entry in entries]}


def _document(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "reference": entry.reference or None,
        "candidate": entry.candidate,
        "parameters": [
            *({**_row(parameter), "call": False} for parameter in entry.parameters),
            *({**_row(parameter), "call": True} for parameter in _of_the_call_alone(entry)),
        ],
        "weights": [
            {"reference": w.reference, "candidate": w.candidate, "transform": w.transform} for w in entry.weights
        ],
        "initializers": [
            {
                "reference": i.reference_weight, "reference_initializer": i.reference,
                "candidate": i.candidate_weight, "candidate_initializer": i.candidate, "differs": i.differs,
            }
            for i in entry.initializers
        ],
        "semantics": [*_why_none(entry), *sentences(entry)],
        "fix": entry.fix,
        "reason": entry.reason,
        "cpu": entry.cpu,
        "live_with": entry.live_with,
        "verified": entry.verified,
    }  # fmt: skip


def _why_none(entry: Entry) -> list[str]:
    return [entry.reason] if entry.reason and (entry.kind == "without" or not entry.candidate) else []


def _of_the_call_alone(entry: Entry) -> list[Parameter]:
    """A name that construction and call both have, such as `weight`, is the construction's in the list."""
    taken = {name for row in entry.parameters for name in (row.reference, row.candidate) if name}
    return [row for row in entry.call if not {row.reference, row.candidate} & taken]


def _row(parameter: Parameter) -> dict[str, Any]:
    return {
        "reference": parameter.reference,
        "reference_default": _plain(parameter.reference_default),
        "reference_required": parameter.reference is not None and parameter.reference_default is ABSENT,
        "candidate": parameter.candidate,
        "candidate_default": _plain(parameter.candidate_default),
        "candidate_required": parameter.candidate is not None and parameter.candidate_default is ABSENT,
        "transform": parameter.transform,
        "differs": parameter.differs,
    }


def _plain(default: Any) -> Any:
    """A default as JSON can hold it; by its `repr` where it cannot."""
    if default is ABSENT:
        return None
    if isinstance(default, float) and not math.isfinite(default):
        return repr(default)
    if isinstance(default, (tuple, list)):
        return [_plain(each) for each in default]
    if default is None or isinstance(default, (bool, int, float, str)):
        return default
    return repr(default)


def sentences(entry: Entry) -> list[str]:
    """What there is to know beside the table: the entry's own sentences, and what follows from its data."""
    told = list(entry.semantics)
    said = " ".join(told)
    for row in entry.parameters:
        names = [name for name in (row.reference, row.candidate) if name]
        if row.differs and not any(re.search(rf"\b{re.escape(name)}\b", said) for name in names):
            told.append(_difference(row))
    called = [part for row in entry.call if (part := _at_the_call(row))]
    if called:
        told.append(f"At the call: {', '.join(called)}.")
    for each in entry.initializers:
        if each.differs:
            told.append(
                f"Initial values differ: {each.reference_weight} starts from {each.reference} in PyTorch, "
                f"{each.candidate_weight} from {each.candidate} in MindSpore."
            )
    renamed = [w for w in entry.weights if w.candidate != w.reference or w.transform != "same"]
    if renamed:
        pairs = ", ".join(
            f"{w.reference} -> {w.candidate or 'nothing'}" + (f" ({w.transform})" if w.transform != "same" else "")
            for w in renamed
        )
        told.append(f"Names in a checkpoint: {pairs}.")
    if entry.cpu and entry.cpu in _CPU:
        told.append(_CPU[entry.cpu])
    if entry.live_with:
        told.append(f"A difference to live with: {entry.live_with}")
    return told


def _at_the_call(row: Parameter) -> str | None:
    if row.reference is None:
        return f"only the candidate has {row.candidate} ({_default(row.candidate_default)} by default)"
    if row.candidate is None:
        return f"the candidate has no {row.reference} ({_default(row.reference_default)} by default)"
    needed = " and required" if row.candidate_default is ABSENT and row.reference_default is not ABSENT else ""
    if row.candidate != row.reference:
        return f"{row.reference} is called {row.candidate}{needed}"
    return f"{row.candidate} is required" if needed else None


def _difference(row: Parameter) -> str:
    if row.reference is None:
        return f"Only the candidate has {row.candidate}, {_default(row.candidate_default)} by default."
    if row.candidate is None:
        return f"The candidate has no {row.reference}, which is {_default(row.reference_default)} by default."
    ours, theirs = _default(row.candidate_default), _default(row.reference_default)
    return f"{row.candidate} is {ours} by default, {row.reference} is {theirs} in PyTorch."


def _default(value: Any) -> str:
    if isinstance(value, str):
        return value if "." in value or value.startswith("<") else repr(value)
    return "required" if value is ABSENT else written(value)


_NOTES = {
    "one_minus": "1 - x", "negate": "-x", "reciprocal": "1 / x", "not": "not x", "square": "x squared",
    "sqrt": "root of x", "item0": "first item", "item1": "second item", "none": "another meaning",
    "padding": "with pad_mode", "pairs_reversed": "other order of pairs", "initializer": "initializer",
    "stride": "None: kernel_size", "is_tanh": "tanh: True", "drop_probability": "or 1 - keep_prob",
}  # fmt: skip


def rendered(entries: list[Entry]) -> Group:
    """Entries as text for a terminal."""
    parts: list[RenderableType] = []
    for entry in entries:
        parts += [*_entry(entry), Text("")]
    versions = ", ".join(f"{name} {version}" for name, version in entries[0].verified.items())
    parts.append(Text(f"verified with {versions}", style="dim"))
    return Group(*parts)


def _entry(entry: Entry) -> list[RenderableType]:
    sides = (entry.reference or "no counterpart", entry.candidate or "no counterpart")
    head = Text.assemble((sides[0], "bold"), " -> ", (sides[1], "bold"))
    head.append(f"  ({entry.kind})" if entry.kind != "without" else "", style="dim")
    parts: list[RenderableType] = [head]
    if entry.reason:
        parts.append(Padding(Text(entry.reason), (0, 0, 0, 2)))
    if entry.parameters or entry.call:
        parts.append(_table(entry))
    if entry.initializers:
        parts.append(Text("initial values", style="bold"))
        for each in entry.initializers:
            line = f"  {each.reference_weight}: {each.reference}  |  {each.candidate_weight}: {each.candidate}"
            parts.append(Text(line, style="yellow" if each.differs else ""))
    told = sentences(entry)
    if told:
        parts.append(Text("what to know", style="bold"))
        parts += [Padding(Text(f"- {sentence}"), (0, 0, 0, 2)) for sentence in told]
    if entry.fix:
        parts.append(Text("write", style="bold"))
        parts.append(Padding(Syntax(entry.fix, "python", background_color="default", word_wrap=True), (0, 0, 0, 2)))
    return parts


def _table(entry: Entry) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for side in (entry.reference, entry.candidate or ""):
        table.add_column(_FRAMEWORKS.get(side.partition(".")[0], side), overflow="fold")
        table.add_column("default", overflow="fold")
    table.add_column("")
    notes = [(row, _NOTES.get(row.transform, "")) for row in entry.parameters]
    for row, note in [*notes, *((row, "at the call") for row in entry.call)]:
        if row.differs:
            note = f"differs; {note}" if note else "differs"
        table.add_row(
            *_cells(row.reference, row.reference_default),
            *_cells(row.candidate, row.candidate_default),
            note,
            style="yellow" if row.differs else "",
        )
    return table


def _cells(name: str | None, default: Any) -> tuple[str, str]:
    return ("-", "") if name is None else (name, "" if default is ABSENT else _default(default))
