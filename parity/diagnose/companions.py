"""Target networks, teachers and averages: whether they start as they should, and how the steps change them."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from parity.align.candidate import beside
from parity.align.companions import copied_from, paired
from parity.compare.faults import Judged
from parity.diagnose.graph import common
from parity.diagnose.names import at, numbers
from parity.diagnose.optimization.averages import LEAST, SURE, fit
from parity.diagnose.tree.modes import word
from parity.document import Cause, Finding, Place
from parity.model import (
    AsideEvent,
    CallEvent,
    CompanionEvent,
    CompanionInfo,
    GradEvent,
    OpEvent,
    OptimizerEvent,
    TensorRef,
)
from parity.trace import Trace

_FEW = 8
"""Elements that a weight must have at least so that being a copy is no accident."""


class _Side(NamedTuple):
    """A companion of one run."""

    trace: Trace
    info: CompanionInfo

    @property
    def place(self) -> Place:
        return Place(self.info.name, self.info.file, self.info.line)

    def values(self, step: int) -> dict[str, TensorRef]:
        """Its weights when it is first called in a step, or before all where it was not seen."""
        found = {p.name: p.ref for p in self.info.parameters if p.ref is not None}
        for event in self.trace.of(CompanionEvent):
            if event.step <= step and event.name in ("", self.info.name):
                found.update({name: ref for name, ref in event.values.items() if name in found})
        return found

    def line(self, step: int) -> tuple[str | None, int | None]:
        """Where it is called in a step."""
        events = [e for e in self.trace.of(CompanionEvent, step) if e.name == self.info.name]
        return (events[0].file, events[0].line) if events else (None, None)


class Change(NamedTuple):
    """How far a companion went towards the model's weights before a step: 0 where it rested, 1 where it is a copy."""

    part: float
    spread: float
    file: str | None
    line: int | None


def companions(
    judged: list[Judged], findings: list[Finding], reference: Trace, candidate: Trace
) -> tuple[list[Finding], list[Finding]]:
    """What differs in the companions of both sides.

    Args:
        judged: Every measured place.
        findings: What was found before.
        reference: The reference's trace.
        candidate: The candidate's trace.

    Returns:
        The findings, and those of before that are explained by them.
    """
    known = paired(candidate)
    mine = {info.name: _Side(reference, info) for info in reference.companions}
    theirs = {info.name: _Side(candidate, info) for info in candidate.companions}
    own = {p.name for p in reference.parameters}
    found: list[Finding] = []
    gone: list[Finding] = []
    for pair in known:
        if pair.reference not in mine or pair.candidate not in theirs:
            continue
        one, other = mine[pair.reference], theirs[pair.candidate]
        found += [] if pair.certain else [_unsure(one, other)]
        started = _not_copied(one, other)
        found += [started] if started is not None else []
        flagged = [
            j for j in judged
            if j.flagged and j.record.kind == "companion" and j.record.path.startswith(pair.reference + ".")
        ]  # fmt: skip
        mode = _mode(one, other)
        if mode is not None:
            echoes = [f for f in findings if f.kind == "unexplained" and _inside(f, one)]
            buffers = {p.name for p in one.info.parameters if p.buffer}
            moved = [j for j in flagged if j.record.path in buffers]
            if echoes or moved:
                found.append(mode)
                gone += echoes
                flagged = [j for j in flagged if j not in moved]
                mode.cause = Cause(mode.message, 0.9, "; ".join(f.message for f in echoes[:2]))
        found += [_changed(flagged, one, other)] if flagged else []
    within = [j for j in judged if j.flagged and j.record.kind == "companion" and j.record.path in own]
    if within:
        one = _part(reference, [j.record.path for j in within])
        found.append(_changed(within, one, _part(candidate, [j.record.candidate for j in within])))
    for side in (mine[name] for name in mine.keys() - {pair.reference for pair in known}):
        echoes = [
            f for f in findings if f.kind == "unexplained" and f.stage in ("forward", "loss") and _inside(f, side)
        ]
        if echoes and not theirs.keys() - {pair.candidate for pair in known}:
            found.append(_unused(side, echoes[0]))
            gone += echoes + [f for f in findings if f.kind == "unexplained" and _behind(f, echoes[0])]
    through = _let_through(findings, reference, candidate)
    if through is not None:
        found.append(through[0])
        gone += through[1]
    return found, gone


def _let_through(findings: list[Finding], reference: Trace, candidate: Trace) -> tuple[Finding, list[Finding]] | None:
    """Gradients that go through a call of the model which the reference does not differentiate."""
    reached = {(g.step, g.call) for g in candidate.of(GradEvent)}
    for call in beside(reference, candidate):
        inside = [number for step, number in reached if step == call.step and call.id <= number <= call.end]
        echoes = [f for f in findings if f.kind == "unexplained" and f.stage == "backward" and f.step == call.step]
        if not inside or not echoes:
            continue
        models = {layer.path for layer in reference.layers if layer.root}
        asides = [event for event in reference.of(AsideEvent) if event.path in models]
        inner = [op for op in candidate.of(OpEvent, call.step) if op.id > call.end and op.line]
        r = Place(call.path, asides[0].file, asides[0].line)
        c = Place(call.path, inner[0].file, inner[0].line) if inner else Place(call.path)
        text = (
            f"the gradient goes through {at(c)}, backward, step {call.step}: the reference calls its model there "
            f"({r.file}:{r.line}) without differentiating it"
        )
        cause = Cause(
            "stop_gradient is missing around what the reference computes without gradient",
            0.9,
            "; ".join(f.message for f in echoes[:2]),
        )
        finding = Finding(
            "stopped-gradient", "backward", "fault", "introduced", call.step, None, r, c, echoes[0].error,
            echoes[0].floor, echoes[0].ratio, text, cause, "ops.stop_gradient(...) around it",
        )  # fmt: skip
        return finding, [f for f in findings if f.kind == "unexplained" and f.stage == "backward"]
    return None


def _part(trace: Trace, names: list[str]) -> _Side:
    """The part of a model that holds some weights which are not trained, as a companion."""
    known = {p.name: p for p in trace.parameters}
    path = common([known[name].owner if name in known else name.rpartition(".")[0] for name in names])
    layer = next((layer for layer in trace.layers if layer.path == path), None)
    parameters = [p for p in trace.parameters if p.name.startswith(path + ".") or not path]
    resting = [p for p in parameters if not p.trainable] or parameters
    info = CompanionInfo(
        path, layer.type if layer else "", layer.file if layer else None, layer.line if layer else None, resting
    )
    return _Side(trace, info)


def _unsure(one: _Side, other: _Side) -> Finding:
    """Companions whose parameters may correspond in several ways, and that make something else of the same input."""
    r, c = one.place, other.place
    text = (
        f"which parameter of {at(c)} is which of {at(r)} could not be told: what the candidate computes with it "
        "outside of what is differentiated was taken from the reference, and is not judged"
    )
    return Finding("companion-unsure", "structure", "warning", None, None, None, r, c, None, None, None, text)


def _unused(side: _Side, echo: Finding) -> Finding:
    """A companion that the candidate does not call: it computes with something else what the reference has from it."""
    r, c = side.place, echo.candidate or Place("")
    text = (
        f"{at(c)} computes with the model that is trained (or with nothing) what the reference computes with "
        f"{at(r)}, which no optimizer updates: the candidate calls no such model, {echo.stage}, step {echo.step}"
    )
    cause = Cause(f"the candidate lacks the reference's {r.path}, or does not call it", 0.8, echo.message)
    return Finding(
        "companion-not-used", echo.stage, "fault", "introduced", echo.step, echo.op, r, c, echo.error, echo.floor,
        echo.ratio, text, cause,
    )  # fmt: skip


def _behind(finding: Finding, echo: Finding) -> bool:
    """Whether a backward difference at the model's output comes of a forward one in the same step."""
    whole = finding.reference is not None and not finding.reference.path
    return finding.stage == "backward" and whole and finding.step == echo.step


def _mode(one: _Side, other: _Side) -> Finding | None:
    """A companion with layers to which it matters that is called in another mode."""
    kinds = " ".join([*one.info.types.values(), *other.info.types.values()]).lower()
    mine, theirs = _modes(one), _modes(other)
    step = next((n for n in sorted(mine.keys() & theirs.keys()) if mine[n] != theirs[n]), None)
    if step is None or not ("batchnorm" in kinds or "dropout" in kinds):
        return None
    r, c = one.place, other.place
    r.value, c.value = (word(modes[step]) for modes in (mine, theirs))
    text = f"{at(c)} is called in {c.value} mode, {at(r)} in {r.value} mode, step {step}"
    return Finding(
        f"{c.value}-mode", "structure", "fault", "introduced", step, "set_train", r, c, None, None, None, text, None,
        f"{c.path}.set_train({mine[step]})",
    )  # fmt: skip


def _modes(side: _Side) -> dict[int, bool]:
    """In which mode a companion is called, by step; a step in which it is called in both is left out."""
    seen: dict[int, set[bool]] = defaultdict(set)
    for event in [*side.trace.of(AsideEvent), *side.trace.of(CallEvent)]:
        if event.path == side.info.name:
            seen[event.step].add(event.training)
    return {step: next(iter(found)) for step, found in seen.items() if len(found) == 1}


def _inside(finding: Finding, side: _Side) -> bool:
    """Whether a finding stands on a line of a companion's own code: among those that use its parameters."""
    place = finding.reference
    if place is None or place.line is None:
        return False
    name = side.info.name + "."
    ops = [op for op in side.trace.of(OpEvent) if any(p.startswith(name) for p in op.parameters) and op.line]
    lines = [op.line for op in ops if op.file == place.file]
    return bool(lines) and min(lines) <= place.line <= max(lines)


def _not_copied(one: _Side, other: _Side) -> Finding | None:
    """A companion that starts as a copy of the model in the reference only."""
    if not _starts_as_copy(one) or copied_from(other.info, other.trace.parameters) is None or _starts_as_copy(other):
        return None
    r, c = one.place, other.place
    r.value, c.value = True, False
    text = (
        f"{at(c)} does not start with the weights of the model that it has the shape of; {at(r)} starts as a copy of "
        "the model"
    )
    cause = Cause("the model's weights are not copied into it before the first step", 0.9)
    fix = f"mindspore.load_param_into_net({c.path}, model.parameters_dict())"
    return Finding(
        "not-copied", "initialization", "fault", "introduced", None, None, r, c, None, None, None, text, cause, fix
    )  # fmt: skip


def _starts_as_copy(side: _Side) -> bool:
    """Whether a companion's weights are those of the model at the start, of whatever has a size to tell."""
    sources = copied_from(side.info, side.trace.parameters)
    if sources is None:
        return False
    own = {name: p.own for p in side.trace.parameters for name in p.names}
    pairs = [
        (p.own, own.get(sources[p.name]))
        for p in side.info.parameters
        if p.name in sources and not p.buffer and p.own is not None and p.own.size >= _FEW
    ]
    return bool(pairs) and all(a is not None and b is not None and a.digest == b.digest for a, b in pairs)


def _changed(flagged: list[Judged], one: _Side, other: _Side) -> Finding:
    """A companion whose weights are not what the reference's code makes of the candidate's."""
    step = min(j.record.step for j in flagged)
    worst = max((j for j in flagged if j.record.step == step), key=lambda j: j.ratio)
    r, c = one.place, other.place
    mine, theirs = _change(one, step), _change(other, step)
    kind, how = "unexplained", f"its weights differ from what the reference's update makes of them: {numbers(worst)}"
    cause: Cause | None = None
    for place, change in ((r, mine), (c, theirs)):
        if change is not None:
            place.value = round(change.part, 6)
            place.file, place.line = change.file or place.file, change.line or place.line
    if mine is not None and theirs is not None and abs(mine.part - theirs.part) > max(
        SURE * max(mine.spread, theirs.spread), LEAST * min(x for x in (mine.part, theirs.part, 1.0) if x >= 0)
    ):  # fmt: skip
        kind, how, cause = _explained(mine.part, theirs.part)
    text = f"{at(c)} is not updated as {at(r)} is, before step {step}: {how}"
    error, noise = worst.relative
    finite = worst.ratio if worst.ratio != float("inf") else None
    return Finding(kind, "optimizer", "fault", "introduced", step - 1, None, r, c, error, noise, finite, text, cause)


def _explained(mine: float, theirs: float) -> tuple[str, str, Cause]:
    """The kind of a difference, what is said of it, and its cause."""
    fitted = "fitted to the weights' own values"
    if theirs < LEAST:
        return (
            "target-not-updated", f"it stays as it is, where the reference's goes {mine:.6g} of the way to the model",
            Cause("the candidate does not update it, or its update has no effect", 0.9, fitted),
        )  # fmt: skip
    if mine < LEAST:
        return (
            "target-updated", f"it goes {theirs:.6g} of the way to the model, where the reference's stays as it is",
            Cause("the candidate updates it where the reference does not", 0.9, fitted),
        )  # fmt: skip
    return (
        "ema-decay", f"it goes {theirs:.6g} of the way to the model, where the reference's goes {mine:.6g} of it",
        Cause("the rate of its update (tau, or 1 - decay) differs", 0.9, fitted),
    )  # fmt: skip


def _change(side: _Side, step: int) -> Change | None:
    """How a companion that is a copy of the model went towards its weights between its first calls of two steps."""
    sources = copied_from(side.info, [p for p in side.trace.parameters if p.trainable])
    if sources is None:
        return None
    names = [p.name for p in side.info.parameters if not p.buffer and p.name in sources]
    old, new = (_flat(side.trace, [side.values(n).get(name) for name in names]) for n in (step - 1, step))
    for updated in (step - 1, step - 2):
        weights = _weights(side.trace, updated)
        found = _flat(side.trace, [weights.get(sources[name]) for name in names])
        result = fit(old, new, found) if old is not None and new is not None and found is not None else None
        if result is not None:
            return Change(1 - result[0], result[1], *side.line(step))
    return None


def _weights(trace: Trace, step: int) -> dict[str, TensorRef]:
    """The model's weights after a step, by all their names."""
    present = {p.name: p.ref for p in trace.parameters if p.ref is not None}
    for done in range(step + 1):
        for event in trace.of(OptimizerEvent, done):
            present.update(event.after)
    found: dict[str, TensorRef] = defaultdict()
    for parameter in trace.parameters:
        if parameter.name in present:
            found.update(dict.fromkeys(parameter.names, present[parameter.name]))
    return dict(found)


def _flat(trace: Trace, refs: list[TensorRef | None]) -> np.ndarray | None:
    if not refs or any(ref is None for ref in refs):
        return None
    parts = [np.asarray(trace.array(ref), np.float64).reshape(-1) for ref in refs if ref is not None]
    flat: np.ndarray = np.concatenate(parts)
    return flat
