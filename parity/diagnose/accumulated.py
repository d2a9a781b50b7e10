"""Findings of two traces that no forced run joins: the first difference, and what may only be its echo."""

from __future__ import annotations

from parity.compare.accumulated import Accumulated
from parity.compare.faults import Judged
from parity.diagnose.names import Names
from parity.document import Finding
from parity.trace import Trace


def findings(seen: Accumulated, reference: Trace, candidate: Trace) -> list[Finding]:
    """The first clear difference as a fault, all later ones as what it may have caused, and a note on the method.

    Args:
        seen: Both traces held against each other.
        reference: The reference's trace.
        candidate: The candidate's trace.
    """
    mine, theirs = Names(reference), Names(candidate)
    found = [_finding(item, mine, theirs) for item in seen.judged if item.flagged]
    for later in found[1:]:
        later.status = "propagated"
    if not seen.judged:
        return found
    text = f"{seen.how}: where several places differ, only the first is known to be no echo of another"
    return [*found, Finding("method", "environment", "note", None, None, None, None, None, None, None, None, text)]


def doubts(seen: Accumulated) -> list[str]:
    """What two traces alone cannot decide, in words."""
    if not seen.doubtful:
        return []
    worst = max(seen.doubtful, key=lambda item: item.ratio)
    place = f"{worst.record.stage} of {worst.record.path or 'the model'}, step {worst.record.step}"
    return [
        f"{len(seen.doubtful)} values differ by more than rounding usually does (the most is {worst.ratio:.0f} times "
        f"the noise, {place}): only the forced run can decide, give the reference's script instead of its trace"
    ]


def _finding(item: Judged, mine: Names, theirs: Names) -> Finding:
    record = item.record
    r, c = mine.place(record.path), theirs.place(record.candidate)
    error, noise = item.relative
    numbers = f"{error:.1e} where rounding explains {noise:.1e}"
    if record.mismatch == "shape":
        numbers = f"shape {list(record.candidate_shape)} where the reference has {list(record.shape)}"
    elif record.mismatch:
        numbers = "NaN or Inf at other places than in the reference"
    where = f"{c.path or 'the model'} ({c.file}:{c.line})" if c.file else c.path or "the training loop"
    return Finding(
        record.mismatch or "unexplained", record.stage, "fault", "introduced", record.step, None, r, c, error, noise,
        item.ratio if item.ratio != float("inf") else None,
        f"{where} differs first, {record.stage}, step {record.step}: {numbers}",
    )  # fmt: skip
