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
