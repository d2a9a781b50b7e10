"""A candidate's companions start from the reference's weights, and get what the reference's were called with."""

from __future__ import annotations

from typing import Any

import msgspec

from parity.align.companions import CompanionPair, complete, counterpart, frozen_parts, mapped, mapped_as_copies
from parity.align.parameters import Mapping, Pair, to_candidate
from parity.align.values import distance, lay, layout
from parity.capture.companions import Companion
from parity.capture.frameworks.base import replace_tensors, tensors_in
from parity.capture.plain import kept
from parity.model import AsideEvent, CallEvent, CompanionInfo, Item
from parity.statistics import widen
from parity.trace import Trace

_AGREE = 1e-3
"""Relative distance under which two companions' outputs count as the same."""


class Adoption:
    """Pairs the candidate's companions with the reference's, and gives them their weights.

    Args:
        session: The synchronising session.
        reference: The reference's trace.
    """

    def __init__(self, session: Any, reference: Trace) -> None:
        self._session = session
        self._reference = reference
        self.pairs: dict[str, CompanionPair] = {}
        self._others = [*reference.companions, *frozen_parts(reference)]
        self._seen: set[str] = set()

    def adopt(self, companion: Companion, info: CompanionInfo) -> None:
        """Finds the counterpart of a companion that is about to be called first, and loads its weights."""
        if info.name in self._seen:
            return
        self._seen.add(info.name)
        taken = {pair.reference for pair in self.pairs.values()}
        free = [other for other in self._others if other.name not in taken]
        known = len(self._reference.companions)
        other = counterpart(info, [c for c in free if c in self._others[:known]]) or counterpart(info, free)
        if other is None:
            return
        mapping, certain = mapped(other, info)
        copies = self._as_copies(other, info)
        if copies is not None:
            mapping, certain = copies, True
        if complete(mapping, info):
            self.pairs[info.name] = CompanionPair(other.name, info.name, certain, mapping.pairs)
            if not self._session.free:
                self.load(companion, info)

    def _as_copies(self, other: CompanionInfo, info: CompanionInfo) -> Mapping | None:
        session = self._session
        known = session.mapping
        if not known:
            return None
        pairs = msgspec.convert(known["pairs"], list[Pair])
        return mapped_as_copies(other, info, (self._reference.parameters, session.parameters), pairs)

    def settle(self, companion: Companion, info: CompanionInfo) -> None:
        """Makes a correspondence certain where both companions are copies of models whose parameters are paired."""
        pair = self.pairs.get(companion.name)
        if pair is None or pair.certain:
            return
        other = next(c for c in self._others if c.name == pair.reference)
        mapping = self._as_copies(other, info)
        if mapping is not None:
            pair.pairs, pair.certain = mapping.pairs, True
            self.load(companion, info)

    def load(self, companion: Companion, info: CompanionInfo) -> None:
        """Writes the weights that the reference's companion starts with, and notes them."""
        pair = self.pairs.get(companion.name)
        other = next((c for c in self._others if pair is not None and c.name == pair.reference), None)
        if pair is None or other is None:
            return
        session = self._session
        arrays = {p.name: self._reference.array(p.ref) for p in other.parameters if p.ref is not None}
        shapes = {p.name: p.shape for p in info.parameters}
        tensors = {held.names[0]: held.tensor for held in companion.held}
        for held, parameter in zip(companion.held, info.parameters, strict=True):
            present = session.store(held.tensor)
            if present != parameter.ref:
                parameter.own = present
        for each in pair.pairs:
            session.adapter.assign(tensors[each.candidate], to_candidate(each, arrays, shapes[each.candidate]))
        for held, parameter in zip(companion.held, info.parameters, strict=True):
            with session.writer.needed():
                parameter.ref = session.store(held.tensor)

    def confirm(self, companion: Companion, info: CompanionInfo, args: Any, kwargs: Any) -> None:
        """Makes a correspondence certain where both companions make the same of what the reference's was given.

        Where they do not, layers are paired in the order in which they are called, which is seen then.
        """
        pair = self.pairs.get(companion.name)
        known = self.call(pair.reference, 0, 0) if pair is not None and not pair.certain else None
        if pair is None or known is None:
            return
        pair.certain = self._same(companion, known, args, kwargs)
        if pair.certain:
            return
        other = next(c for c in self._others if c.name == pair.reference)
        before, info.order = pair.pairs, companion.order
        mapping, _ = mapped(other, info)
        if complete(mapping, info):
            pair.pairs = mapping.pairs
            self.load(companion, info)
            pair.certain = self._same(companion, known, args, kwargs)
        if not pair.certain:
            pair.pairs = before
            self.load(companion, info)

    def _same(self, companion: Companion, known: tuple[list[Item], list[Item]], args: Any, kwargs: Any) -> bool:
        """Whether a companion makes the same as the reference's of the same input."""
        session, left = self._session, list(known[0])

        def give(_: str, tensor: Any) -> Any:
            values = widen(*session.adapter.read(tensor))
            item = next((i for i in left if i.ref.shape[1:] == values.shape[1:]), None)
            if item is None:
                return tensor
            left.remove(item)
            return session.adapter.make(self._reference.array(item.ref), tensor)

        is_tensor = session.adapter.is_tensor
        new, named = replace_tensors(tuple(args), give, is_tensor), replace_tensors(kwargs, give, is_tensor)

        def run() -> Any:
            return companion.layer(*new, **named)

        try:
            with kept(layer for _, layer in session.adapter.named_layers(companion.layer)):
                made = session.companions.within(companion, lambda: session.adapter.dry(companion.layer, run))
        except Exception:  # whatever the script's model raises: it was not written for these arguments
            return False
        outputs = [widen(*session.adapter.read(tensor)) for _, tensor in tensors_in(made, is_tensor)]
        expected = [self._reference.array(item.ref) for item in known[1]]
        if not outputs or len(outputs) != len(expected):
            return False
        for one, other in zip(outputs, expected, strict=True):
            how = layout(one, other)
            if how is None or distance(lay(one, how), other) >= _AGREE:
                return False
        return True

    def call(self, name: str, step: int, number: int) -> tuple[list[Item], list[Item]] | None:
        """What the reference's companion, or its model (`""`), was given and made in one of its calls of a step."""
        calls: list[Any] = [e for e in self._reference.of(AsideEvent, step) if e.path == name]
        calls = calls or [c for c in self._reference.of(CallEvent, step) if name and c.path == name]
        return (calls[number].inputs, calls[number].outputs) if number < len(calls) else None
