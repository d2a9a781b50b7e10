"""What a user asked for: the options that judge a comparison, and the request that leads to one."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

LATER = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
"""Steps of a longer training that are followed closely: faults of schedules and of state show late."""


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two layers, by their paths, that correspond to each other, with everything below them."""

    reference: str
    candidate: str


class Ignored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A path of either side that is not judged, with everything below it, and why; `*` stands for anything."""

    path: str
    reason: str

    def covers(self, path: str) -> bool:
        """Whether a path is this one or lies below it."""
        return fnmatchcase(path, self.path) or fnmatchcase(path, f"{self.path}.*")


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Findings that are known and accepted, and why: those that have all that is named here, `path` on either side."""

    reason: str
    kind: str | None = None
    stage: str | None = None
    candidate: str | None = None
    reference: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if all(value is None for value in (self.kind, self.stage, self.candidate, self.reference, self.path)):
            raise ValueError("an accepted finding needs a kind, a stage, a path, a candidate or a reference")


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
        summary: A first look at statistics only.
        ignored: Paths that are not judged.
        accepted: Findings that are no faults.
        train: Training steps of which the losses are compared; 0 for those of `steps`.
        data_batches: Batches of each data loader that are read alone after them.
    """

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    strict: bool = False
    rtol: float | None = None
    atol: float | None = None
    free: bool = False
    steps: int = 3
    summary: bool = False
    ignored: tuple[Ignored, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    train: int = 0
    data_batches: int = 200

    @property
    def length(self) -> int:
        """Training steps that each script makes."""
        return max(self.steps, self.train)

    @property
    def sampled(self) -> list[int] | None:
        """The steps of a longer training that are followed closely; None for all."""
        if self.train <= self.steps:
            return None
        return sorted({*range(self.steps), *(n for n in LATER if n < self.train), self.train - 1})


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
        pins: Layers that the user has paired.
        max_disk: Bytes that all traces may take together.
        fresh: Run the reference even where an unchanged one was captured before.
    """

    reference: Subject
    candidate: Subject
    options: Options
    timeout: float
    keep: Path | None = None
    fresh: bool = False
    max_disk: int | None = None
    pins: tuple[Pin, ...] = ()


def is_trace_name(path: Path) -> bool:
    """Whether a path is named as a trace, complete or partial."""
    return path.name.endswith((".trace", ".trace.partial"))
