"""The stage `data`: batches as they leave the loaders and enter the training steps, and how they differ."""

from __future__ import annotations

import numpy as np

from parity.data.difference import How
from parity.data.distribution import differ
from parity.data.how import explain
from parity.data.order import match_samples
from parity.diagnose.loading.batches import Judged, draws, judge_pair
from parity.diagnose.loading.entries import Differing, Entries, enters_unchanged
from parity.diagnose.loading.epochs import at, balance_findings, epoch_findings, finding, order_findings
from parity.diagnose.loading.health import health_findings
from parity.diagnose.loading.loaders import Loader, loaders_of, pair_columns, pair_loaders
from parity.diagnose.loading.pipelines import advise
from parity.diagnose.stage import Context, Result, chosen
from parity.document import Cause, Finding, Place, Stage
from parity.samples import sketch

_RESHAPES = (
    "batch-size", "image-size", "shape", "layout", "padding-length", "sequence-length", "sequence-shift", "one-hot",
    "drop-last", "epoch-samples", "epoch-steps",
)  # fmt: skip
"""Differences after which tensors of the steps have other shapes."""

_LOOP = Place("")

_AUGMENTED = {"resize", "rounding", "crop", "flip", "batches"}
"""What random augmentation looks like when single samples are compared."""

_MILD = {"padding-length": 1.0, "one-hot": 1.0, "resize": 1e-2, "rounding": 5e-2, "dtype": 1e-2, "values": 0.0}
"""Differences that a model may not notice, or undoes: faults only where they are larger than this."""


def judge(context: Context) -> Result:
    """Judges the loaders of both sides, and what enters the steps."""
    mine, theirs = loaders_of(context.reference), loaders_of(context.candidate)
    entries = Entries(context.reference, context.candidate)
    told = "hyperparameters" in chosen(context.options)
    pairs = pair_loaders(mine, theirs)
    found: list[Finding] = []
    compared = total = unclear = 0
    for r, c in pairs:
        judged = judge_pair(r, c)
        own = [f for f in _pair(r, c, judged, entries) if f.kind != "batch-size" or not told]
        scaled = any(f.severity == "fault" and f.kind in ("scale", "normalization") for f in own)
        found += own + [f for f in health_findings(r, c) if not (scaled and f.kind == "unscaled")]
        compared += judged.compared
        total += max(len(r.used), len(c.used))
        unclear += any(how.kind == "unrelated" for column in judged.columns for how in column.hows)
    found += _unused(context)
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
    labels = next((f for f in found if f.kind == "one-hot" and f.error), None)  # smoothed: other labels
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
        found += _augmented(mine, theirs, random) if set(random) == {True, False} else []
        return found or [_elsewhere(mine, theirs)]
    in_order = judged.order == "" and not judged.batch_sizes
    if in_order and entries.entries and not entries.homeless:
        if entries.all_same:
            return found + [_harmless(judged, mine, theirs)]
        differing = _entered(entries, mine, theirs)
    else:
        differing = _columns(judged, entries, mine, theirs)
        lost = [column.name for column in judged.columns if any(how.kind == "unrelated" for how in column.hows)]
        explained = any(f.severity == "fault" for f in found + differing) or judged.found > 0.99
        found += balance_findings(mine, theirs, judged) if not explained else []
        differing += _unrelated(lost, mine, theirs) if lost else []
    if True in random:
        return found + [f for f in differing if f.kind not in _AUGMENTED] + _augmented(mine, theirs, random)
    if mine.event.shuffled and theirs.event.shuffled:
        differing = [f for f in differing if f.kind != "batches"]
    return found + differing


def _columns(judged: Judged, entries: Entries, mine: Loader, theirs: Loader) -> list[Finding]:
    """How the columns differ, as far as it is known; one finding for what several of them have in common."""
    found: list[Finding] = []
    for column in judged.columns:
        for how in column.hows:
            if how.kind == "layout" and entries.undone():
                found.append(_harmless(judged, mine, theirs))
            elif how.kind != "unrelated" and not any(how.text in f.message for f in found):
                found += _how(how, column.name, mine, theirs)
    return found


def _unused(context: Context) -> list[Finding]:
    """Loaders that gave nothing in the captured steps, such as those for evaluation: what differs is a warning."""
    sides = [loaders_of(trace, used_only=False) for trace in (context.reference, context.candidate)]
    if len(sides[0]) != len(sides[1]):
        return []
    found: list[Finding] = []
    for r, c in zip(*sides, strict=True):
        judged = judge_pair(r, c)
        own = epoch_findings(r, c, judged)
        if judged.order is not None and judged.order != "unknown":
            for column in judged.columns:
                for how in column.hows:
                    own += _how(how, column.name, r, c) if how.kind != "unrelated" else []
        for f in own:
            if f.severity != "note":
                f.severity, f.status = "warning", None
                f.message += " (it gave no batch to the captured steps)"
                found.append(f)
    return found


def _elsewhere(mine: Loader, theirs: Loader) -> Finding:
    """The same epoch, of which the steps got other batches."""
    r, c = mine.place(), theirs.place()
    text = f"{at(c)} and {at(r)} give the same batches, and the captured steps were made with others of them"
    return finding("order", "warning", text, r, c)


def _harmless(judged: Judged, mine: Loader, theirs: Loader) -> Finding:
    ways = "; ".join(dict.fromkeys(how.text for column in judged.columns for how in column.hows))
    text = f"{at(theirs.place())} gives other batches than {at(mine.place())} ({ways}), and the same enters the model"
    return finding("batches", "note", text, None, theirs.place())


def _entered(entries: Entries, mine: Loader | None, theirs: Loader | None) -> list[Finding]:
    """How the tensors differ that enter the steps."""
    found: list[Finding] = []
    lost: list[Differing] = []
    for group in entries.differing():
        rows = min(len(group.reference), len(group.candidate))
        for how in explain(group.reference[:rows], group.candidate[:rows]):
            if how.kind == "unrelated":
                lost.append(group)
            elif not any(how.text in f.message for f in found):
                found += _how(how, "what enters the model", mine, theirs, entries.place)
    return found + (_independent(lost, mine, theirs, entries.place) if lost else [])


def _how(
    how: How, column: str, mine: Loader | None, theirs: Loader | None, loop: Place = _LOOP
) -> list[Finding]:  # fmt: skip
    """One difference as a finding, at the line that makes it, or where it enters the loop."""
    if how.kind == "dtype" and how.size == 0:
        severity = "note"
    else:
        severity = "warning" if how.size <= _MILD.get(how.kind, -1.0) else "fault"
    advice = advise(how, mine, theirs)
    values = advice.value or how.value or (None, None)
    r = mine.place(value=values[0]) if mine is not None else Place("", value=values[0])
    c = theirs.place(advice.op, values[1]) if theirs is not None else Place("", loop.file, loop.line, values[1])
    label = f"column {column}" if column.isdigit() or " " not in column else column
    text = f"{at(c)}, {label}: {how.text}"
    cause = Cause(advice.cause or how.text, 0.95 if advice.cause else 0.8, how.text if advice.cause else "")
    made = finding(how.kind, severity, text, r, c, cause, advice.fix)
    made.error = how.size or None
    return [made]


def _unrelated(columns: list[str], mine: Loader, theirs: Loader) -> list[Finding]:
    """Samples that cannot be compared one by one: their distributions."""
    r, c = mine.place(), theirs.place()
    found = []
    for a, b in pair_columns(mine.columns, theirs.columns):
        if theirs.columns[b].name not in columns:
            continue
        left, right = _samples(mine, a), _samples(theirs, b)
        if left is None or right is None or left.shape[1:] != right.shape[1:]:
            continue
        told = differ(left, right, len(columns))
        if told is not None:
            severity = "fault" if told.clear and a == 0 else "warning"
            text = f"{at(c)}, column {theirs.columns[b].name}: {told.text}"
            found.append(finding("distribution", severity, text, r, c))
    if found:
        return found
    text = f"the samples of {at(c)} have nothing to do with those of {at(r)}; they were compared by their distribution"
    return [finding("batches", "warning", text, r, c)]


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
    """Samples that at least one side changes at random."""
    r, c = mine.place(), theirs.place()
    if None in random:
        return []
    if random == (True, True):
        text = f"{at(c)} and {at(r)} both change samples at random; their values cannot be compared one by one"
        return [finding("augmentation", "note", text, None, c)]
    changing, fixed = (at(c), at(r)) if random[1] else (at(r), at(c))
    text = f"{changing} changes samples at random, {fixed} does not"
    cause = Cause("random augmentation on one side only", 0.8)
    severity = "fault" if enters_unchanged(mine) and enters_unchanged(theirs) else "warning"
    return [finding("augmentation", severity, text, r, c, cause)]


def _independent(
    lost: list[Differing], mine: Loader | None, theirs: Loader | None, loop: Place
) -> list[Finding]:  # fmt: skip
    """Tensors that each side draws for itself, or takes in its own order."""
    place = theirs.place() if theirs is not None else loop
    other = mine.place() if mine is not None else Place("")
    where = at(place)
    found = []
    for group in lost:
        r, c = group.reference, group.candidate
        told = differ(r, c, len(lost)) if r.shape[1:] == c.shape[1:] and group.certain else None
        if told is not None:
            severity = "fault" if told.clear and group.input else "warning"
            text = f"{where}, what enters the {'model' if group.input else 'step'}: {told.text}"
            found.append(finding("distribution", severity, text, other, place))
    if found:
        return found
    pairs = [
        (g.reference, g.candidate) for g in lost if g.reference.ndim > 1 and g.reference.shape == g.candidate.shape
    ]
    known = max((match_samples(sketch(r), sketch(c)).fraction for r, c in pairs), default=0.0)
    what = "takes samples in an order of its own" if known > 0.1 else "has samples of its own"
    note = f"{where}: each side {what}, alike in their distribution; they cannot be compared one by one"
    return [finding("batches", "note", note, None, place)]


def _made_in_loop(entries: Entries, mine: Loader | None, theirs: Loader | None) -> tuple[list[Finding], bool]:
    """What enters the steps where not both sides have a loader."""
    found = _entered(entries, mine, theirs)
    return found, any(f.kind == "batches" for f in found)
