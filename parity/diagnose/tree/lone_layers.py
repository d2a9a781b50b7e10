"""Ops that are the whole of a layer which only one side calls, or calls elsewhere: findings of structure."""

from __future__ import annotations

import re

from parity import mapping
from parity.diagnose.counterparts import corresponding
from parity.diagnose.lone_ops import EXTRA, MISSING, plain
from parity.diagnose.names import Names, at
from parity.document import Cause, Finding, Place
from parity.model import CallEvent, LayerInfo
from parity.trace import Trace

_LAYERS = {MISSING: "layer-missing", EXTRA: "layer-extra"}


def lone_layers(
    findings: list[Finding], reference: Trace, candidate: Trace, stage: str
) -> tuple[list[Finding], list[Finding]]:
    """Makes findings of structure of ops that are the whole of a layer which the other side does not call.

    Args:
        findings: All findings; those of lone ops are changed in place.
        reference: The reference's trace.
        candidate: The candidate's trace.
        stage: The stage that they get.

    Returns:
        What is left of the findings, and those that went as evidence.
    """
    wanted = [f for f in findings if f.kind in _LAYERS and f.stage == "forward" and f.status == "introduced"]
    if not wanted:
        return findings, []
    sides = _Sides(reference, candidate)
    for finding in wanted:
        (sides.missing if finding.kind == MISSING else sides.extra)(finding, stage)
    folded = []
    gone = [f for f in wanted if f.kind in ("layer-missing", MISSING)]
    for extra in (f for f in wanted if f.kind in ("layer-extra", EXTRA)):
        other = next((f for f in gone if f not in folded and _moved(extra, f)), None)
        if other is not None:
            sides.merge(extra, other, stage)
            folded.append(other)
    return [f for f in findings if f not in folded], folded


class _Sides:
    """Which layers both sides call, and which correspond."""

    def __init__(self, reference: Trace, candidate: Trace) -> None:
        self.reference, self.candidate = Names(reference), Names(candidate)
        pairs = corresponding(reference, candidate)
        self.theirs = {p.reference.path: p.candidate for p in pairs}
        self.mine = {p.candidate.path: p.reference for p in pairs}
        self.called = [{call.path for call in trace.of(CallEvent)} for trace in (reference, candidate)]

    def missing(self, finding: Finding, stage: str) -> None:
        """Says of an op that the candidate lacks which layer it is."""
        layer = _layer(self.reference, finding.reference)
        partner = self.theirs.get(layer.path) if layer is not None else None
        if layer is None or (partner is not None and partner.path in self.called[1]):
            return
        idle = partner or self._idle(layer, finding.candidate)
        why = f": {idle.path} ({idle.file}:{idle.line}) is never called" if idle is not None else ""
        finding.reference = _place(layer)
        finding.fix = (f"call {idle.path}" if idle else _counterpart(layer)) + _where(finding)
        _retell(finding, layer, "reference", "candidate", why, stage)

    def extra(self, finding: Finding, stage: str) -> None:
        """Says of an op that only the candidate has which layer it is."""
        layer, place = _layer(self.candidate, finding.candidate), finding.candidate
        partner = self.mine.get(layer.path) if layer is not None else None
        if layer is None or place is None or (partner is not None and partner.path in self.called[0]):
            return
        finding.candidate = _place(layer)
        finding.fix = f"remove {layer.path}, which is called at {place.file}:{place.line}"
        _retell(finding, layer, "candidate", "reference", "", stage)

    def merge(self, extra: Finding, missing: Finding, stage: str) -> None:
        """Makes one finding of an op more and an op less: the layer or the op stands elsewhere."""
        mine, theirs = missing.reference, extra.candidate
        if mine is None or theirs is None:
            return
        evidence = "; ".join(f.message for f in (extra, missing))
        layers = [_layer(self.reference, mine), _layer(self.candidate, theirs)]
        extra.reference, extra.kind = mine, "op-order"
        what, how = "ops are applied", f"apply {extra.op}"
        if all(layers):
            extra.stage, extra.kind, what, how = stage, "layer-order", "layers are called", f"call {theirs.path}"
        text = f"{at(theirs)}, {theirs.value or extra.op}, stands elsewhere than {at(mine)} of the reference"
        extra.message = f"{text}, {extra.message.rpartition(', forward, ')[2]}"
        extra.cause = Cause(f"{what} in another order", 0.9, evidence)
        where = re.search(r" (?:behind|there|to what leaves).*", missing.fix or "")
        extra.fix = missing.fix
        if where is not None:
            behind = where[0].replace("to what leaves", "behind")
            extra.fix = f"{how}{behind}, not where it stands now"

    def _idle(self, like: LayerInfo, near: Place | None) -> LayerInfo | None:
        """A layer of the same class and name that is constructed, but never called: the one nearest to a place."""
        name = like.path.rpartition(".")[2]
        every = self.candidate.layers.values()
        found = [x for x in every if x.type == like.type and x.path and x.path not in self.called[1]]
        named = [x for x in found if x.path.rpartition(".")[2] == name] or (found if len(found) == 1 else [])
        words = near.path.split(".") if near is not None else []
        return max(
            named, key=lambda x: sum(a == b for a, b in zip(x.path.split("."), words, strict=False)), default=None
        )


def _layer(names: Names, place: Place | None) -> LayerInfo | None:
    """The library's layer at a place."""
    layer = names.layers.get(place.path) if place is not None else None
    return layer if layer is not None and names.leaf(layer.path) else None


def _place(layer: LayerInfo) -> Place:
    return Place(layer.path, layer.file, layer.line, layer.type)


def _retell(finding: Finding, layer: LayerInfo, side: str, other: str, why: str, stage: str) -> None:
    evidence = finding.message
    text = (
        f"{layer.path} of the {side} ({layer.file}:{layer.line}), {layer.type}, has no counterpart in the {other}{why}"
    )
    finding.stage, finding.kind = stage, _LAYERS[finding.kind]
    finding.message = f"{text}, {evidence.partition(', ')[2]}"
    finding.cause = Cause(f"a layer that only the {side} calls", 0.9, evidence)


def _moved(extra: Finding, missing: Finding) -> bool:
    """Whether an op more and an op less are one op of one block that stands elsewhere in it."""
    mine, theirs, block = missing.reference, extra.candidate, missing.candidate
    if mine is None or theirs is None or block is None or extra.step != missing.step or extra.stage != missing.stage:
        return False
    above = theirs.path.rpartition(".")[0]
    return plain(extra.op or "") == plain(missing.op or "") and above in (block.path, block.path.rpartition(".")[0])


def _counterpart(layer: LayerInfo) -> str:
    """The candidate's class for a layer of the reference, with the reference's own call."""
    known = next((entry.candidate for entry in mapping.counterparts(layer.type) if entry.candidate), layer.type)
    return f"apply {known}, the reference's {layer.code or layer.type}"


def _where(finding: Finding) -> str:
    """Behind what a layer is called."""
    found = re.search(r" to what leaves (.*)", finding.fix or "")
    place = finding.candidate
    line = f" ({place.file}:{place.line})" if place is not None and place.line is not None else ""
    return f" behind {found[1]}{line}" if found else f" there{line}"
