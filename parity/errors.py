"""Everything that parity raises, and the exit codes of the command line."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `parity` (the table of README.md)."""

    MATCH = 0
    DIVERGED = 1
    ERROR = 2
    INCONCLUSIVE = 3
    INTERRUPTED = 130


class ParityError(Exception):
    """Base of all errors that parity raises on purpose.

    Args:
        message: What happened, and where (file, layer path).
        hint: What to do next.
        side: `reference` or `candidate`, where one of the two scripts is concerned.
    """

    slug = "error"

    def __init__(self, message: str, *, hint: str | None = None, side: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.side = side


class UsageError(ParityError):
    """The command line, or the arguments of a call, cannot be acted on."""

    slug = "usage"


class ScriptError(ParityError):
    """A script that parity ran failed by itself."""

    slug = "script-failed"


class BatchesRefused(ScriptError):
    """A candidate failed with the reference's batches, which hold another number of samples than its own."""


class ScriptTimeout(ParityError):
    """A script did not come to its last step in time."""

    slug = "script-timeout"


class NothingCaptured(ParityError):
    """A script ended without calling a model."""

    slug = "no-model-called"


class OutOfSpace(ParityError):
    """A trace has no room: the disk is full, or the limit that the user set is reached."""

    slug = "disk-full"


class FrameworkMissing(ParityError):
    """An interpreter cannot import the framework that its script needs."""

    slug = "framework-missing"


class TraceError(ParityError):
    """A trace cannot be read: truncated, of another schema, or not a trace."""

    slug = "bad-trace"


class CaptureFailed(ParityError):
    """The instrumented process ended without a usable trace, by no exception of the script's own."""

    slug = "capture-failed"


class MappingError(ParityError):
    """The tables of `mappings/` are missing or do not fit their schema."""

    slug = "bad-mapping"


class UnknownName(ParityError):
    """A name that no table has."""

    slug = "unknown-name"
