"""What a stage is given, and what it gives: each of the modules named after a stage has one `judge(context)`."""

from __future__ import annotations

from typing import Any, NamedTuple

from parity.compare.faults import Judged
from parity.document import STAGES, Finding, Listed, Stage
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


def chosen(options: Any) -> set[str]:
    """The stages that `--only` and `--skip` leave."""
    only = set(getattr(options, "only", None) or STAGES)
    return only - set(getattr(options, "skip", None) or ())


HINT = "hint"
"""The severity of a finding that goes unless something measured confirms it."""


class Claim(NamedTuple):
    """What a finding explains besides its own place: layers and parameters by path, whole stages, kinds."""

    reference: frozenset[str] = frozenset()
    candidate: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()


class Result(NamedTuple):
    """A stage's findings, in the order of their birth, and what it compared.

    Attributes:
        findings: What differs.
        stage: How much was compared.
        claims: What findings explain besides, by their position.
        listed: Everything that was compared, whether it differs or not.
    """

    findings: list[Finding]
    stage: Stage
    claims: dict[int, Claim] = {}
    listed: list[Listed] = []
