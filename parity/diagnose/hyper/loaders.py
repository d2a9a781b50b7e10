"""How often and with how many samples each side makes a step: batch sizes, and the numbers of epochs."""

from __future__ import annotations

from typing import NamedTuple

from parity.diagnose.hyper.provenance import configurations, origin, rewritten
from parity.diagnose.hyper.settings import at
from parity.diagnose.loading.batches import batch_sizes
from parity.diagnose.loading.entries import Entries
from parity.diagnose.loading.loaders import Loader, loaders_of, pair_loaders
from parity.diagnose.names import at as place_of
from parity.diagnose.stage import Context
from parity.document import Cause, Finding, Place
from parity.model import ObjectInfo
from parity.trace import Trace

_LONGEST = 160
"""Characters of a call that is shown whole."""

_EPOCHS = ("epochs", "epoch")


def compared_loaders(context: Context) -> list[Finding]:
    """Batch sizes and numbers of epochs that differ."""
    mine, theirs = loaders_of(context.reference), loaders_of(context.candidate)
    pairs = pair_loaders(mine, theirs)
    found = [f for r, c in pairs for f in _batch_size(r, c)]
    if not pairs:
        found = _made_in_loop(context, mine[0] if mine else None, theirs[0] if theirs else None)
    return found + _epochs(context)


def _batch_size(mine: Loader, theirs: Loader) -> list[Finding]:
    sizes = batch_sizes(mine, theirs)
    if sizes is None:
        return []
    op = theirs.first("BatchDataset", "PaddedBatchDataset")
    r, c = mine.place(value=sizes[0]), theirs.place(op, sizes[1])
    parts = [_said(loader, size) for loader, size in ((theirs, sizes[1]), (mine, sizes[0]))]
    text = f"batches of {at(c)} have {parts[0]}, those of {at(r)} have {parts[1]}"
    return [_finding("batch-size", "fault", text, r, c, Cause("another batch size", 0.95), _fix(theirs, sizes[0]))]


def _said(loader: Loader, size: int) -> str:
    """So many samples, and who said so, where that is the argument of that name."""
    text = f"{size} sample{'s' if size != 1 else ''}"
    event, trace = loader.event, loader.trace
    if event.arguments.get("batch_size") != size:
        return text
    said = origin(event, "batch_size", trace.meta.framework, configurations(trace))
    said = said.removeprefix(f"given at {event.file}:{event.line}").removeprefix(" as ").removeprefix(", ")
    return f"{text} ({said})" if said else text


def _fix(loader: Loader, size: int) -> str:
    """The call that makes the candidate's batches, with the reference's number of samples."""
    fix = rewritten(loader.event.code, list(loader.event.arguments), f"batch_size={size}")
    return fix if len(fix) <= _LONGEST else f"batch_size={size}"


def _made_in_loop(context: Context, mine: Loader | None, theirs: Loader | None) -> list[Finding]:
    """The same where a side has no loader: what enters the first step by itself has another number of samples."""
    entries = Entries(context.reference, context.candidate)
    first = [e for e in entries.entries if e.step == 0]
    sizes = {(e.given.shape[0], e.own.shape[0]) for e in first if e.given is not None and e.given.shape and e.own.shape}
    alike = all(e.given is not None and e.own.shape[1:] == e.given.shape[1:] for e in first)
    if not first or not alike or len(sizes) != 1:
        return []
    ((one, other),) = sizes
    if one == other:
        return []
    r = mine.place(value=one) if mine is not None else Place("", value=one)
    c = theirs.place(value=other) if theirs is not None else Place("", entries.place.file, entries.place.line, other)
    text = f"what enters the steps at {place_of(c)} has {other} samples, in the reference {one}"
    cause = Cause("another batch size", 0.9)
    return [_finding("batch-size", "fault", text, r, c, cause, f"batches of {one} samples")]


class _Epochs(NamedTuple):
    number: int
    info: ObjectInfo


def _epochs(context: Context) -> list[Finding]:
    """The numbers of epochs, where both are known; a warning, because the captured steps do not come so far."""
    mine, theirs = epochs_of(context.reference), epochs_of(context.candidate)
    if mine is None or theirs is None or mine.number == theirs.number:
        return []
    r, c = (Place("", e.info.file, e.info.line, e.number) for e in (mine, theirs))
    text = (
        f"the candidate ({c.file}:{c.line}) trains for {theirs.number} epochs{_as(theirs.info)}, the reference "
        f"({r.file}:{r.line}) for {mine.number}{_as(mine.info)}"
    )
    return [_finding("epochs", "warning", text, r, c, Cause("another number of epochs", 0.9), f"{mine.number} epochs")]


def _as(info: ObjectInfo) -> str:
    return f" ({info.code})" if info.code else ""


def epochs_of(trace: Trace) -> _Epochs | None:
    """For how many epochs a script trains, None where it does not say so in one way."""
    found: dict[int, ObjectInfo] = {}
    for info in trace.objects:
        if info.kind == "epochs":
            number = next((n for k in _EPOCHS if type(n := info.arguments.get(k)) is int), None)
            if number is None:
                return None
            found.setdefault(number, info)
    return _Epochs(*next(iter(found.items()))) if len(found) == 1 else None


def _finding(kind: str, severity: str, text: str, r: Place, c: Place, cause: Cause, fix: str) -> Finding:
    status = "introduced" if severity == "fault" else None
    return Finding(
        kind, "hyperparameters", severity, status, None, None, r, c, None, None, None, text, cause, fix
    )  # fmt: skip
