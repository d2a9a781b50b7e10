"""Which parameters are trained: frozen on one side only, or in no optimizer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from parity.diagnose.hyper.settings import paired_parameters
from parity.diagnose.names import Names
from parity.document import Cause, Finding, Place
from parity.model import OptimizerEvent, ParameterInfo, TensorRef
from parity.trace import Trace
from parity.words import some

_MOST = 3
"""So many separate parts of a model are findings of their own; more are one finding, at the first."""


def trained(reference: Trace, candidate: Trace) -> list[tuple[Finding, list[str]]]:
    """Parameters that one side updates, and the other freezes or gives to no optimizer.

    Returns:
        The findings, each with the reference's names of the parameters that it is about.
    """
    mine, theirs = _Side(reference), _Side(candidate)
    found: dict[tuple[str, bool], list[tuple[str, str]]] = {}
    for r, c in paired_parameters(candidate):
        if r not in mine.known or c not in theirs.known:
            continue
        if mine.moves(r) and (kind := theirs.resting(c)):
            found.setdefault((kind, True), []).append((r, c))
        elif theirs.moves(c) and (kind := mine.resting(r)):
            found.setdefault((kind, False), []).append((r, c))
    every = [c for r, c in paired_parameters(candidate) if r in mine.known and not mine.known[r].buffer]
    findings = []
    for (kind, candidate_rests), pairs in found.items():
        partner = {c: r for r, c in pairs}
        parts = _parts(list(partner), every)
        groups = [(part, [c for c in partner if _inside(c, part)]) for part in parts]
        if len(groups) > _MOST:
            groups = [(groups[0][0], list(partner))]
        for part, names in groups:
            finding = _finding(kind, candidate_rests, part, names, partner, reference, candidate)
            findings.append((finding, [partner[name] for name in names]))
    return findings


class _Side:
    """What one side's optimizers do to its parameters."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.known: dict[str, ParameterInfo] = {name: p for p in trace.parameters for name in p.names}
        self.held: set[str] = set()
        self.given: dict[str, list[TensorRef]] = {}
        for event in trace.of(OptimizerEvent):
            self.held |= set(event.before)
            for name, ref in event.given.items():
                self.given.setdefault(name, []).append(ref)

    def moves(self, name: str) -> bool:
        """Whether a parameter gets a gradient other than zero, at an optimizer that holds it."""
        known = self.known[name]
        return known.trainable and any(bool(np.any(self.trace.array(ref))) for ref in self.given.get(name, ()))

    def resting(self, name: str) -> str:
        """Why a parameter is not trained; empty where it is, or where that is no matter of declaration."""
        if not self.known[name].trainable and name not in self.given:
            return "frozen-parameter"
        return "parameter-not-optimized" if self.held and name not in self.held else ""


def _inside(name: str, part: str) -> bool:
    return name == part or not part or name.startswith(part + ".")


def _parts(names: list[str], every: list[str]) -> list[str]:
    """The fewest layers and parameters that hold just these parameters, in their order."""
    chosen: list[str] = []
    wanted = set(names)
    for name in names:
        if any(_inside(name, part) for part in chosen):
            continue
        words = name.split(".")
        options = [".".join(words[:n]) for n in range(len(words) + 1)]
        whole: Callable[[str], bool] = lambda part: all(n in wanted for n in every if _inside(n, part))  # noqa: E731
        chosen.append(next(part for part in options if whole(part)))
    return chosen


def _finding(
    kind: str, candidate_rests: bool, part: str, names: list[str], partner: dict[str, str], reference: Trace,
    candidate: Trace,
) -> Finding:  # fmt: skip
    mine, theirs = Names(reference), Names(candidate)
    first = partner[names[0]]
    depth = names[0].count(".") - part.count(".") + (0 if part else 1)
    other = first if part in names else ".".join(first.split(".")[: max(0, first.count(".") + 1 - depth)])
    r, c = mine.place(other if other in mine.layers or other in mine.owners else first), theirs.place(part)
    r.value, c.value = candidate_rests, not candidate_rests
    shown = part if part and part not in names else some(names)
    count = f" ({len(names)} parameters)" if len(names) > 1 else ""
    what = "is frozen" if kind == "frozen-parameter" else "is in no optimizer"
    side, trains = ("candidate", "reference") if candidate_rests else ("reference", "candidate")
    text = f"{shown} ({_line(c)}){count} {what} in the {side}; the {trains} trains it ({_line(r)})"
    causes = {
        "frozen-parameter": f"requires_grad is False in the {side} only",
        "parameter-not-optimized": f"the {side}'s optimizer was not given the parameter",
    }
    finding = Finding(
        kind, "structure", "fault", "introduced", None, None, r, c, None, None, None, text, Cause(causes[kind], 0.95)
    )
    if candidate_rests:
        finding.fix = (
            f"leave requires_grad of {shown} at True"
            if kind == "frozen-parameter"
            else f"give {shown} to the optimizer: net.trainable_params() holds all"
        )
    else:
        finding.fix = f"freeze {shown}: set requires_grad = False before trainable_params() is called"
    return finding


def _line(place: Place) -> str:
    return f"{place.file}:{place.line}" if place.file else place.path or "the model"
