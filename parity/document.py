"""The comparison document: what `parity compare` finds, as data that every report is made from."""

from __future__ import annotations

from typing import Any

import msgspec

STAGES = (
    "environment", "hyperparameters", "structure", "initialization", "data", "forward", "loss", "backward",
    "optimizer", "training", "metrics",
)  # fmt: skip
"""The stages in the order in which a divergence is born."""


class Place(msgspec.Struct):
    """Where on one side: dotted path, and the line of the script's own files."""

    path: str
    file: str | None = None
    line: int | None = None
    value: Any = None


class Cause(msgspec.Struct):
    """Why, as far as it is known."""

    text: str
    confidence: float
    evidence: str = ""


class Finding(msgspec.Struct):
    """One difference. `error` and `floor` are RMS distances relative to the forced value, `ratio` their quotient."""

    kind: str
    stage: str
    severity: str
    status: str | None
    step: int | None
    op: str | None
    reference: Place | None
    candidate: Place | None
    error: float | None
    floor: float | None
    ratio: float | None
    message: str
    cause: Cause | None = None
    fix: str | None = None
    related: list[int] = []


class Value(msgspec.Struct):
    """One side of a declared value, and who chose it (`given at ms.py:57`, `MindSpore's default`)."""

    value: Any
    origin: str


class Listed(msgspec.Struct):
    """One declared value of both sides, whether it differs or not.

    Attributes:
        of: The layer, optimizer or loader.
        name: The argument, by both names where the sides call it differently.
        reference: The reference's, None where it has none.
        candidate: The candidate's.
        equal: Whether both mean the same; None where nothing can be said.
    """

    of: str
    name: str
    reference: Value | None
    candidate: Value | None
    equal: bool | None


class Stage(msgspec.Struct):
    """What one stage compared: `status` is match, diverged, inconclusive, absent or skipped."""

    status: str
    compared: int = 0
    total: int = 0
    diverged: int = 0
    note: str | None = None


class Unaligned(msgspec.Struct):
    """Layers that have no counterpart."""

    reference: list[str] = []
    candidate: list[str] = []


class Side(msgspec.Struct):
    """One of the two runs."""

    command: list[str] = []
    framework: str = ""
    version: str = ""
    python: str = ""
    steps: int = 0
    notes: list[str] = []


class Comparison(msgspec.Struct):
    """The whole result. `first` is the index of the first fault, None unless the verdict is `diverged`."""

    verdict: str
    headline: str
    first: int | None
    findings: list[Finding]
    stages: dict[str, Stage]
    unaligned: Unaligned
    reference: Side
    candidate: Side
    details: dict[str, Any] = {}
    schema: int = 1
