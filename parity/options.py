"""What a user asked for: the options that judge a comparison, and the request that leads to one."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How two traces are judged.

    Attributes:
        only: Judge these stages and no others; empty for all.
        skip: Leave these stages out.
        strict: Make warnings faults.
        rtol: Relative tolerance of the local error, instead of what rounding explains; with `atol` or not at all.
        atol: The absolute one.
        free: The candidate keeps its own weights and batches.
        steps: Training steps asked of each script.
        data_batches: Batches of each data loader that are read alone after them.
    """

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    strict: bool = False
    rtol: float | None = None
    atol: float | None = None
    free: bool = False
    steps: int = 3
    data_batches: int = 200


class Subject(msgspec.Struct, frozen=True):
    """One side of a comparison: a script with its interpreter, folder and arguments, or a trace (`.trace`)."""

    path: Path
    args: tuple[str, ...]
    python: str
    cwd: Path

    @property
    def is_trace(self) -> bool:
        """Whether it has been captured already."""
        return is_trace_name(self.path)


class Request(msgspec.Struct, frozen=True):
    """A whole `parity compare`.

    Attributes:
        reference: The benchmark.
        candidate: The migration.
        options: How to judge.
        timeout: Seconds that each script may take.
        keep: Folder for traces and comparison; the user's cache where it is None.
        fresh: Run the reference even where an unchanged one was captured before.
    """

    reference: Subject
    candidate: Subject
    options: Options
    timeout: float
    keep: Path | None = None
    fresh: bool = False


def is_trace_name(path: Path) -> bool:
    """Whether a path is named as a trace, complete or partial."""
    return path.name.endswith((".trace", ".trace.partial"))
