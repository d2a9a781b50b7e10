"""The shape of an epoch: batch size, steps, what is dropped, left out or repeated, and whether it is shuffled."""

from __future__ import annotations

from collections import Counter
from typing import Any

from parity.data.distribution import histogram
from parity.diagnose.loading.batches import Judged
from parity.diagnose.loading.loaders import Loader, pair_columns
from parity.document import Cause, Finding, Place
from parity.model import PipelineOp

_DROPS = ("drop_last", "drop_remainder")


def finding(
    kind: str, severity: str, message: str, mine: Place | None, theirs: Place | None, cause: Cause | None = None,
    fix: str | None = None,
) -> Finding:  # fmt: skip
    """A finding of this stage."""
    status = "introduced" if severity == "fault" else None
    return Finding(kind, "data", severity, status, None, None, mine, theirs, None, None, None, message, cause, fix)


def at(place: Place) -> str:
    """`loader (ms.py:12)`."""
    name = place.path or "the training loop"
    return f"{name} ({place.file}:{place.line})" if place.file else name


def epoch_findings(mine: Loader, theirs: Loader, judged: Judged) -> list[Finding]:
    """What differs between two epochs as a whole."""
    found = _batch_size(mine, theirs, judged)
    return found or _counts(mine, theirs)


def _batch_size(mine: Loader, theirs: Loader, judged: Judged) -> list[Finding]:
    sizes = judged.batch_sizes
    if sizes is None:
        return []
    op = theirs.first("BatchDataset", "PaddedBatchDataset")
    r, c = mine.place(value=sizes[0]), theirs.place(op, sizes[1])
    text = f"batches of {at(c)} have {sizes[1]} samples, those of {at(r)} have {sizes[0]}"
    cause = Cause("another batch size", 0.95)
    return [finding("batch-size", "fault", text, r, c, cause, f"batch_size={sizes[0]}")]


def _counts(mine: Loader, theirs: Loader) -> list[Finding]:
    if mine.epoch is None or theirs.epoch is None:
        return []
    steps, samples = (mine.epoch.batches, theirs.epoch.batches), (mine.epoch.samples, theirs.epoch.samples)
    drops = bool(mine.argument(*_DROPS)), bool(theirs.argument(*_DROPS))
    op = theirs.first("BatchDataset", "PaddedBatchDataset")
    r, c = mine.place(value=steps[0]), theirs.place(op, steps[1])
    if not _comparable(mine, theirs) or steps == samples == (0, 0):
        return _declared(drops, mine, theirs, op)
    if samples[0] == samples[1]:
        if steps[0] != steps[1]:
            text = f"an epoch of {at(c)} has {steps[1]} steps, one of {at(r)} {steps[0]}"
            return [finding("epoch-steps", "fault", text, r, c)]
        return _repeated(mine, theirs) + _declared(drops, mine, theirs, op)
    size = _largest(mine), _largest(theirs)
    gap = abs(samples[0] - samples[1])
    if drops[0] != drops[1] and size[0] == size[1] and gap < size[0] and (samples[1] < samples[0]) == drops[1]:
        left = "drops the last, smaller batch" if drops[1] else "keeps the last, smaller batch"
        other = "keeps it" if drops[1] else "drops it"
        text = f"{at(c)} {left} of {gap} samples, {at(r)} {other}: {steps[1]} against {steps[0]} steps in an epoch"
        name = "drop_remainder" if theirs.event.arguments.get("drop_remainder") is not None else "drop_last"
        cause = Cause(f"{name}={drops[1]}, where the reference has drop_last={drops[0]}", 0.95)
        return [finding("drop-last", "fault", text, r, c, cause, f"{name}={drops[0]}")]
    times = _times(theirs.epoch.samples, mine)
    if times and theirs.first("RepeatDataset") is not None:
        text = f"{at(c)} repeats its samples {times} times in an epoch, {at(r)} has them once; "
        text += "a loop over epochs may do the same"
        return [finding("repeat", "note", text, r, c)]
    return [_other_samples(mine, theirs, steps, samples, r, c)]


def _comparable(mine: Loader, theirs: Loader) -> bool:
    """Whether the counts can be held against each other: both whole, or one whole and the other already longer."""
    if mine.epoch is None or theirs.epoch is None:
        return False
    if mine.complete and theirs.complete:
        return _again(mine) and _again(theirs)
    return False


def _again(loader: Loader) -> bool:
    """Whether the loader began anew when it was read once more: a generator may go on, or be used up."""
    if loader.epoch is None or loader.epoch.batches < len({b.position for b in loader.used}):
        return False
    return bool(loader.event.shuffled) or not loader.used or loader.repeats() is not False


def _declared(drops: tuple[bool, bool], mine: Loader, theirs: Loader, op: Any) -> list[Finding]:
    """An argument that differs and has no consequence as far as can be seen."""
    if drops[0] == drops[1]:
        return []
    r, c = mine.place(value=drops[0]), theirs.place(op, drops[1])
    text = f"{at(c)} {'drops' if drops[1] else 'keeps'} a last, smaller batch, {at(r)} does not"
    text = text if drops[1] else f"{at(c)} keeps a last, smaller batch, {at(r)} drops it"
    why = "; there is none here" if mine.complete and theirs.complete else ""
    return [finding("drop-last", "warning", text + why, r, c)]


def _largest(loader: Loader) -> int:
    return max((b.columns[0].shape[0] for b in loader.read if b.columns and b.columns[0].shape), default=0)


def _times(samples: int, mine: Loader) -> int:
    """How often the reference's epoch fits into so many samples, 0 where it does not evenly."""
    one = mine.epoch.samples if mine.epoch is not None else 0
    return samples // one if one and samples > one and samples % one == 0 else 0


def _repeated(mine: Loader, theirs: Loader) -> list[Finding]:
    """The same number of samples, some of them more than once."""
    twice = [_twice(mine), _twice(theirs)]
    total = theirs.epoch.samples if theirs.epoch is not None else 0
    if twice[1] <= twice[0] + 0.05 * total and twice[0] <= twice[1] + 0.05 * total:
        return []
    r, c = mine.place(value=twice[0]), theirs.place(theirs.source(), twice[1])
    text = f"{twice[1]} of {total} samples of an epoch of {at(c)} are repetitions of others; {at(r)} has {twice[0]}"
    samplers = [op.arguments.get("sampler") or op.name for op in (*_sampling(mine), *_sampling(theirs))]
    used = f" ({samplers[1]} where the reference has {samplers[0]})" if len(samplers) == 2 else ""
    who, fix = "the candidate draws samples with replacement, or several times", "draw each sample once"
    if twice[0] > twice[1]:
        who = "the reference draws samples with replacement, the candidate each once"
        fix = "use the same kind of sampler"
    classes = _classes(mine, theirs)
    cause = Cause(who + used, 0.8, classes or "")
    return [finding("repeated-samples", "fault", text + (f"; {classes}" if classes else ""), r, c, cause, fix)]


def _sampling(loader: Loader) -> list[PipelineOp]:
    return [op for op in loader.event.pipeline if op.name.endswith("Sampler") or op.arguments.get("sampler")][:1]


def _classes(mine: Loader, theirs: Loader) -> str | None:
    """How the balance of classes differs between two epochs, in words."""
    if mine.epoch is None or theirs.epoch is None:
        return None
    for a, b in pair_columns(mine.columns, theirs.columns):
        if max(a, b) < min(len(mine.epoch.columns), len(theirs.epoch.columns)):
            counts = [mine.epoch.columns[a].classes, theirs.epoch.columns[b].classes]
            if counts[0] and counts[1] and len(mine.columns[a].ref.shape) == 1:
                numbers = [{int(k): n for k, n in part.items()} for part in counts if part]
                text = histogram(numbers[0], numbers[1])
                if text is not None:
                    return text
    return None


def balance_findings(mine: Loader, theirs: Loader, judged: Judged) -> list[Finding]:
    """Classes that one side sees clearly more often: a fault where both choose from the same samples."""
    text = _classes(mine, theirs)
    if text is None:
        return []
    r, c = mine.place(), theirs.place(theirs.source())
    severity = "fault" if judged.found > 0 else "warning"
    return [finding("class-balance", severity, f"{at(c)}: {text}", r, c, Cause("another choice of samples", 0.7))]


def _twice(loader: Loader) -> int:
    return sum(n - 1 for n in Counter(loader.digests()).values())


def _other_samples(
    mine: Loader, theirs: Loader, steps: tuple[int, int], samples: tuple[int, int], r: Place, c: Place
) -> Finding:
    twice = _twice(theirs), _twice(mine)
    text = (
        f"an epoch of {at(c)} has {samples[1]} samples in {steps[1]} steps, one of {at(r)} {samples[0]} in {steps[0]}"
    )
    if twice[0] > twice[1]:
        text += f"; {twice[0]} of the candidate's samples are repetitions"
    cause = Cause("other samples: another subset, a limit on their number, a filter or a shard", 0.7)
    return finding("epoch-samples", "fault", text, r, c, cause)


def order_findings(mine: Loader, theirs: Loader, judged: Judged) -> list[Finding]:
    """One side shuffles and the other does not, or both in their own way."""
    if judged.order == "" and not any(how.kind == "unrelated" for col in judged.columns for how in col.hows):
        return []
    shuffles = mine.event.shuffled, theirs.event.shuffled
    source = theirs.source()
    r, c = mine.place(value=shuffles[0]), theirs.place(source, shuffles[1])
    known = (
        f"{judged.found:.0%} of the samples that were read are the same"
        if judged.found
        else "no sample could be found again"
    )
    if None not in shuffles and shuffles[0] != shuffles[1]:
        default = source is not None and "shuffle" not in source.given and shuffles[1] and "sampler" not in source.given
        text = f"{at(c)} shuffles" + (f" ({source.name} does so unless told otherwise)" if default and source else "")
        text = text if shuffles[1] else f"{at(c)} does not shuffle"
        text += f", {at(r)} {'shuffles' if shuffles[0] else 'does not'}; {known}"
        cause = Cause(f"shuffle={shuffles[1]}, where the reference has shuffle={shuffles[0]}", 0.95, known)
        whole = all(side.epoch is not None and side.complete and side.epoch.batches == 1 for side in (mine, theirs))
        severity = "warning" if whole else "fault"  # within the only batch of an epoch, the order means little
        return [finding("shuffle", severity, text, r, c, cause, f"shuffle={shuffles[0]}")]
    if all(shuffles):
        text = f"{at(c)} and {at(r)} both shuffle, each with its own random numbers; {known}"
        return [finding("shuffle-order", "note", text, None, c)]
    if judged.order == "unknown":
        return []
    what = f"{judged.order} of the reference's" if judged.order else "an order that only chance explains"
    if judged.order:
        severity = "fault" if shuffles == (False, False) else "warning"
        text = f"{at(c)} gives the samples of {at(r)} in another order: {judged.order}"
        return [finding("order", severity, text, r, c, Cause(f"another order of the samples: {what}", 0.8, known))]
    text = f"{at(c)} gives the samples of {at(r)} in another order, {what}; {known}"
    return [finding("order", "note" if True in shuffles else "warning", text, r, c)]
