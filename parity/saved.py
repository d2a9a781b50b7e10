"""A kept comparison again: in another format, or judged anew from its traces with other thresholds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from parity.document import STAGES, Comparison
from parity.errors import TraceError, UsageError
from parity.options import Options
from parity.trace import Trace

_MOST = 2**30


def read_saved(saved: Path) -> Comparison:
    """The comparison as it was kept.

    Args:
        saved: The folder of a kept comparison, or its `comparison.json`.

    Raises:
        UsageError: There is none.
        TraceError: It cannot be read.
    """
    path = saved / "comparison.json" if saved.is_dir() else saved
    if not path.is_file():
        raise UsageError(
            f"{saved} holds no comparison.json", hint="name the folder of --keep, or the one that parity printed"
        )
    try:
        if path.stat().st_size > _MOST:
            raise TraceError(f"{path} is too large for a comparison")
        comparison = msgspec.json.decode(path.read_bytes(), type=Comparison)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise TraceError(f"{path} cannot be read: {error}", hint="compare again") from None
    first = comparison.first
    known = comparison.verdict in ("match", "diverged", "inconclusive", "error") and set(comparison.stages) <= {*STAGES}
    if comparison.schema != 1 or not known or (first is not None and not 0 <= first < len(comparison.findings)):
        raise TraceError(f"{path} is no comparison of this version", hint="compare again")
    return comparison


def judge_again(saved: Path, options: Options) -> Comparison:
    """The same traces judged with other options.

    Args:
        saved: The folder of a kept comparison.
        options: How to judge.

    Raises:
        UsageError: The folder lacks the traces.
        TraceError: One of them cannot be read.
    """
    traces = [saved / f"{side}.trace" for side in ("reference", "candidate")]
    if not all(trace.is_dir() for trace in traces):
        raise UsageError(
            f"{saved} does not hold both traces, which other thresholds need",
            hint="name the folder of a comparison of two scripts, or compare again",
        )
    forced = saved / "forced"
    return judged(Trace(traces[0]), Trace(traces[1]), forced if (forced / "forced.json").is_file() else None, options)


def judged(reference: Trace, candidate: Trace, forced: Path | None, options: Options) -> Comparison:
    """Judges traces that came from elsewhere, whose records need not fit together.

    Raises:
        TraceError: They do not.
    """
    from parity.diagnose.judge import judge

    try:
        return judge(reference, candidate, forced, options)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise TraceError(
            f"{reference.path} and {candidate.path} hold records that do not fit together: "
            f"{type(error).__name__}: {error}",
            hint="capture both scripts again",
        ) from error
