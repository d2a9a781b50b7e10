"""What a stage is given, and what it gives: each of the modules named after a stage has one `judge(context)`."""

from __future__ import annotations

from typing import Any, NamedTuple

from parity.compare.faults import Judged
from parity.document import Finding, Stage
from parity.measured import Forced
from parity.trace import Trace


class Context(NamedTuple):
    """One pair of runs, with all that was measured of it.

    Attributes:
        reference: The reference's trace.
        candidate: The candidate's trace, synchronised with it.
        forced: The forced run; empty where there was none.
        judged: Its measured places, each held against its noise floor.
        options: Flags of the command line (`only`, `skip`, `strict`, `rtol`, `atol`).
    """

    reference: Trace
    candidate: Trace
    forced: Forced
    judged: list[Judged]
    options: Any


HINT = "hint"
"""The severity of a finding that goes unless something measured confirms it."""


class Claim(NamedTuple):
    """What a finding explains besides its own place: layers and parameters by path, whole stages, kinds."""

    reference: frozenset[str] = frozenset()
    candidate: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()


class Result(NamedTuple):
    """A stage's findings, in the order of their birth, and what it compared; `claims` by the finding's position."""

    findings: list[Finding]
    stage: Stage
    claims: dict[int, Claim] = {}
