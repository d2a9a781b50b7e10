"""An optimizer's calls on both sides, side by side, and its recorded updates ready to be explained."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from parity.align.candidate import own_scale, unit_of
from parity.diagnose.optimization.rules import SAMPLE, SETTINGS, Updates
from parity.document import Place
from parity.model import OptimizerEvent
from parity.trace import Trace

ELEMENTS = 24_000
"""Elements of all parameters together that are looked at."""

_OWN = (*SETTINGS, "maximize")
"""Settings of a group, besides learning rate and weight decay, by which its parameters are explained together."""


class Calls(NamedTuple):
    """The calls of one optimizer in each step that both sides have.

    Attributes:
        reference: The reference's calls.
        candidate: The candidate's.
        partner: The reference's parameter of each of the candidate's.
    """

    reference: list[OptimizerEvent]
    candidate: list[OptimizerEvent]
    partner: dict[str, str]

    def places(self) -> tuple[Place, Place]:
        """What the two scripts call it, and the line that calls it."""
        r, c = self.reference[0], self.candidate[0]
        return Place(r.name, r.file, r.line), Place(c.name, c.file, c.line)

    def lone(self) -> bool:
        """Whether one side updates more numbers than the other."""
        mine, theirs = (sum(ref.size for ref in calls[0].given.values()) for calls in (self.reference, self.candidate))
        return mine != theirs

    def group(self, step: int, name: str) -> dict[str, Any] | None:
        """The reference's group of a parameter of the candidate's."""
        partner = self.partner.get(name)
        return next((g for g in self.reference[step].groups if partner in g.get("parameters", [])), None)


def calls_of(reference: Trace, candidate: Trace) -> dict[int, Calls]:
    """Each optimizer's calls, by its place among the optimizers that are called in a step."""
    sides = [_by_step(reference), _by_step(candidate)]
    partner = partners(candidate)
    found: dict[int, Calls] = {}
    for step in sorted(sides[0].keys() & sides[1].keys()):
        for number, (mine, theirs) in enumerate(zip(sides[0][step], sides[1][step], strict=False)):
            calls = found.setdefault(number, Calls([], [], partner))
            calls.reference.append(mine)
            calls.candidate.append(theirs)
    return found


def partners(candidate: Trace) -> dict[str, str]:
    """The reference's parameter (the first, where several are held in one) of each of the candidate's."""
    pairs = (candidate.meta.mapping or {}).get("pairs", [])
    return {p["candidate"]: p["reference"] or p["parts"][0] for p in pairs}


def _by_step(trace: Trace) -> dict[int, list[OptimizerEvent]]:
    steps: dict[int, list[OptimizerEvent]] = defaultdict(list)
    for event in trace.of(OptimizerEvent):
        if event.after:
            steps[event.step].append(event)
    return steps


def updates_of(calls: Calls, candidate: Trace) -> list[tuple[Updates, list[list[dict[str, Any]]]]]:
    """The candidate's first updates by groups of equal settings, each with the reference's settings [T][K]."""
    lead = next((n for n, e in enumerate(calls.candidate) if e.step != n), len(calls.candidate))
    if not lead:
        return []
    calls = calls._replace(reference=calls.reference[:lead], candidate=calls.candidate[:lead])
    steps = range(lead)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in calls.candidate[0].after:
        settings = [calls.group(step, name) for step in steps]
        recorded = all(name in e.given and name in e.before and name in e.after for e in calls.candidate)
        known = all(calls.partner.get(name) in e.given for e in calls.reference)
        if recorded and known and None not in settings and settings[0] is not None:
            alike[repr([settings[0].get(key) for key in _OWN])].append(name)
    return [
        (_sampled(calls, candidate, names), [[calls.group(t, n) or {} for n in names] for t in steps])
        for names in alike.values()
    ]


def _sampled(calls: Calls, candidate: Trace, names: list[str]) -> Updates:
    most = min(SAMPLE, max(64, ELEMENTS // len(names)))
    columns: list[list[np.ndarray]] = []
    owner = []
    unit = 2.0**-24
    for number, name in enumerate(names):
        refs = [(e.before[name], e.given[name], e.after[name]) for e in calls.candidate]
        size = refs[0][0].size
        chosen = np.linspace(0, size - 1, min(size, most)).astype(int)
        unit = max(unit, unit_of(refs[0][0].dtype))
        owner.append(np.full(len(chosen), number))
        columns.append(
            [
                np.array([np.asarray(candidate.array(row[k]), np.float64).reshape(-1)[chosen] for row in refs])
                for k in range(3)
            ]
        )
    before, given, after = (np.concatenate([c[k] for c in columns], axis=1) for k in range(3))
    given = given / own_scale(calls.candidate[0])
    return Updates(names, np.concatenate(owner), before, given, after, unit)
