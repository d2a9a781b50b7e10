"""The stage `data`: batches as they leave the loaders and enter the training steps, and how they differ."""

from __future__ import annotations

import numpy as np

from parity.data.difference import How
from parity.data.distribution import differ
from parity.data.how import explain
from parity.data.order import match_samples
from parity.diagnose.batches import Judged, draws, judge_pair
from parity.diagnose.entries import Entries, enters_unchanged
from parity.diagnose.epochs import at, balance_findings, epoch_findings, finding, order_findings
from parity.diagnose.health import health_findings
from parity.diagnose.loaders import Loader, loaders_of, pair_columns, pair_loaders
from parity.diagnose.pipelines import advise
from parity.diagnose.stage import Context, Result
from parity.document import Cause, Finding, Place, Stage
from parity.samples import sketch

_RESHAPES = (
    "batch-size", "image-size", "shape", "layout", "padding-length", "sequence-length", "sequence-shift", "one-hot",
    "drop-last", "epoch-samples", "epoch-steps",
)  # fmt: skip
"""Differences after which tensors of the steps have other shapes."""

_MILD = {"padding-length": 1.0, "one-hot": 1.0, "resize": 1e-2, "rounding": 5e-2, "dtype": 1e-2}
"""Differences that a model may not notice, or undoes: faults only where they are larger than this."""


def judge(context: Context) -> Result:
    """Judges the loaders of both sides, and what enters the steps."""
    mine, theirs = loaders_of(context.reference), loaders_of(context.candidate)
    entries = Entries(context.reference, context.candidate)
    pairs = pair_loaders(mine, theirs)
    found: list[Finding] = []
    compared = total = unclear = 0
    for r, c in pairs:
        judged = judge_pair(r, c)
        own = _pair(r, c, judged, entries)
        scaled = any(f.severity == "fault" and f.kind in ("scale", "normalization") for f in own)
        found += own + [f for f in health_findings(r, c) if not (scaled and f.kind == "unscaled")]
        compared += judged.compared
        total += max(len(r.used), len(c.used))
        unclear += any(how.kind == "unrelated" for column in judged.columns for how in column.hows)
    if not pairs:
        loader = theirs[0] if theirs else None
        made, lost = _made_in_loop(entries, mine[0] if mine else None, loader)
        found += made + health_findings(mine[0] if mine else None, loader)
        compared += len(entries.steps)
        total += max(context.reference.meta.steps, len(entries.steps)) if entries.entries else 0
        unclear += lost
    return Result(found, _stage(found, compared, total, unclear))


def echoes(found: list[Finding], measured: list[Finding]) -> list[Finding]:
    """The measured findings that come of batches which no run could be given: of another shape, of other labels.

    What is said of the data carries them: it becomes a fault, and they its evidence.
    """
    gone: list[Finding] = []
    introduced = [f for f in measured if f.status == "introduced"]
    labels = next((f for f in found if f.kind == "one-hot"), None)
    loss = [f for f in introduced if f.stage == "loss"]
    if labels is not None and loss:
        _carry(labels, loss[0])
        gone += loss
    carrier = next((f for f in found if f.kind in _RESHAPES), None)
    shapes = [f for f in introduced if f.kind == "shape" and f.step is not None]
    if carrier is not None and shapes:
        _carry(carrier, shapes[0])
        first = min(f.step for f in shapes if f.step is not None)
        numeric = ("forward", "loss", "backward")
        gone += [f for f in measured if f.stage in numeric and f.step is not None and f.step >= first]
    return gone


def _carry(carrier: Finding, echo: Finding) -> None:
    """Makes a finding a fault, with a measured one as its evidence."""
    carrier.severity, carrier.status = "fault", "introduced"
    if carrier.cause is not None:
        carrier.cause.evidence = "; ".join(filter(None, (carrier.cause.evidence, echo.message)))


def _stage(found: list[Finding], compared: int, total: int, unclear: int) -> Stage:
    faults = sum(f.severity == "fault" for f in found)
    status = "diverged" if faults else "match" if compared else "inconclusive" if total else "absent"
    note = "samples could only be compared by their distribution" if unclear and not faults else None
    return Stage(status, compared, total, faults, note)


def _pair(mine: Loader, theirs: Loader, judged: Judged, entries: Entries) -> list[Finding]:
    """The findings of one pair of loaders."""
    found = epoch_findings(mine, theirs, judged)
    if judged.equal:
        return found if entries.all_same or not entries.entries else found + _entered(entries, mine, theirs)
    if not found or found[0].kind != "batch-size":
        found += order_findings(mine, theirs, judged)
    random = draws(mine), draws(theirs)
    if not any(column.hows for column in judged.columns):
        return found + (_augmented(mine, theirs, random) if set(random) == {True, False} else [])
    in_order = judged.order == "" and not judged.batch_sizes
    if in_order and entries.entries and not entries.homeless:
        if entries.all_same:
            return found + [_harmless(judged, mine, theirs)]
        return found + (_entered(entries, mine, theirs) if random != (True, True) else _augmented(mine, theirs, random))
    lost = [column.name for column in judged.columns if any(how.kind == "unrelated" for how in column.hows)]
    for column in judged.columns:
        for how in column.hows:
            if how.kind == "layout" and entries.undone():
                found.append(_harmless(judged, mine, theirs))
            elif how.kind != "unrelated" and not any(how.text in f.message for f in found):
                found += _how(how, column.name, mine, theirs)
    explained = any(f.severity == "fault" for f in found) or judged.found > 0.99
    found += balance_findings(mine, theirs) if not explained else []
    if lost:
        return found + _unrelated(lost, mine, theirs, random)
    return found + (_augmented(mine, theirs, random) if set(random) == {True, False} else [])


def _harmless(judged: Judged, mine: Loader, theirs: Loader) -> Finding:
    ways = "; ".join(dict.fromkeys(how.text for column in judged.columns for how in column.hows))
    text = f"{at(theirs.place())} gives other batches than {at(mine.place())} ({ways}), and the same enters the model"
    return finding("batches", "note", text, None, theirs.place())


def _entered(entries: Entries, mine: Loader | None, theirs: Loader | None) -> list[Finding]:
    """How the tensors differ that enter the steps."""
    found: list[Finding] = []
    lost: list[tuple[np.ndarray, np.ndarray]] = []
    for r, c in entries.differing():
        rows = min(len(r), len(c))
        for how in explain(r[:rows], c[:rows]):
            if how.kind == "unrelated":
                lost.append((r, c))
            elif not any(how.text in f.message for f in found):
                found += _how(how, "what enters the model", mine, theirs)
    return found + (_independent(lost, mine, theirs) if lost else [])


def _how(how: How, column: str, mine: Loader | None, theirs: Loader | None) -> list[Finding]:
    """One difference as a finding, at the line that makes it."""
    if how.kind == "dtype" and how.size == 0:
        severity = "note"
    else:
        severity = "warning" if how.size <= _MILD.get(how.kind, -1.0) else "fault"
    advice = advise(how, mine, theirs)
    values = advice.value or how.value or (None, None)
    r = mine.place(value=values[0]) if mine is not None else Place("", value=values[0])
    c = theirs.place(advice.op, values[1]) if theirs is not None else Place("", value=values[1])
    label = f"column {column}" if column.isdigit() or " " not in column else column
    text = f"{at(c) or 'the training loop'}, {label}: {how.text}"
    cause = Cause(advice.cause or how.text, 0.95 if advice.cause else 0.8, how.text if advice.cause else "")
    made = finding(how.kind, severity, text, r, c, cause, advice.fix)
    made.error = how.size or None
    return [made]


def _unrelated(
    columns: list[str], mine: Loader, theirs: Loader, random: tuple[bool | None, bool | None]
) -> list[Finding]:
    """Samples that cannot be compared one by one: their distributions, and whether they are drawn at random."""
    place = theirs.place()
    found = []
    for a, b in pair_columns(mine.columns, theirs.columns):
        if theirs.columns[b].name not in columns:
            continue
        stacks = [_samples(mine, a), _samples(theirs, b)]
        if stacks[0] is None or stacks[1] is None or stacks[0].shape[1:] != stacks[1].shape[1:]:
            continue
        text = differ(stacks[0], stacks[1], len(columns))
        if text is not None:
            words = f"{at(place)}, column {theirs.columns[b].name}: {text}"
            found.append(finding("distribution", "fault", words, mine.place(), place))
    return found or _augmented(mine, theirs, random)


def _samples(loader: Loader, index: int) -> np.ndarray | None:
    """One column of the epoch read afterwards, as far as it is kept, else of the captured steps."""
    read = loader.whole(index) or _used(loader, index)
    arrays = [a for a in read if a.ndim]
    if not arrays or len({a.shape[1:] for a in arrays}) > 1:
        return None
    stacked: np.ndarray = np.concatenate(arrays)
    return stacked


def _used(loader: Loader, index: int) -> list[np.ndarray]:
    return [loader.trace.array(b.items[index].ref) for b in loader.used if index < len(b.items)]


def _augmented(mine: Loader, theirs: Loader, random: tuple[bool | None, bool | None]) -> list[Finding]:
    r, c = mine.place(), theirs.place()
    if random == (True, True):
        text = f"{at(c)} and {at(r)} both make samples at random; their values cannot be compared one by one"
        return [finding("augmentation", "note", text, None, c)]
    if None not in random and random[0] != random[1]:
        changing, fixed = (at(c), at(r)) if random[1] else (at(r), at(c))
        text = f"{changing} changes samples at random, {fixed} does not"
        cause = Cause("random augmentation on one side only", 0.8)
        severity = "fault" if enters_unchanged(mine) and enters_unchanged(theirs) else "warning"
        return [finding("augmentation", severity, text, r, c, cause)]
    if mine.event.shuffled and theirs.event.shuffled:
        return []
    text = f"the samples of {at(c)} have nothing to do with those of {at(r)}; they were compared by their distribution"
    return [finding("batches", "warning", text, r, c)]


def _independent(
    lost: list[tuple[np.ndarray, np.ndarray]], mine: Loader | None, theirs: Loader | None
) -> list[Finding]:
    """Tensors that each side draws for itself, or takes in its own order."""
    place = theirs.place() if theirs is not None else Place("")
    other = mine.place() if mine is not None else Place("")
    where = at(place) or "the training loop"
    tests = [differ(r, c, len(lost)) for r, c in lost if r.shape[1:] == c.shape[1:]]
    told = [text for text in tests if text is not None]
    if told:
        return [
            finding("distribution", "fault", f"{where}, what enters the model: {text}", other, place) for text in told
        ]
    telling = [match_samples(sketch(r), sketch(c)).fraction for r, c in lost if r.ndim > 1 and r.shape == c.shape]
    known = max(telling, default=0.0)
    what = "takes samples in an order of its own" if known > 0.1 else "has samples of its own"
    note = f"{where}: each side {what}, alike in their distribution; they cannot be compared one by one"
    return [finding("batches", "note", note, None, place)]


def _made_in_loop(entries: Entries, mine: Loader | None, theirs: Loader | None) -> tuple[list[Finding], bool]:
    """What enters the steps where not both sides have a loader."""
    found = _entered(entries, mine, theirs)
    return found, any(f.kind == "batches" for f in found)
