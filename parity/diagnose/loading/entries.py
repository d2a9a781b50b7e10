"""What each side itself puts into its training steps, whether it comes from a loader or is made in the loop."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.data.difference import agree
from parity.diagnose.loading.loaders import LOOKED_AT, Loader, same_values
from parity.document import Place
from parity.model import CallEvent, EnteredEvent, OpEvent, TensorRef
from parity.trace import Trace


class Entry(NamedTuple):
    """A tensor that enters a step: the candidate's own, and the reference's in its place (None where none fits)."""

    step: int
    own: TensorRef
    given: TensorRef | None
    same: bool
    file: str | None = None
    line: int | None = None


class Differing(NamedTuple):
    """Samples [N, ...] of both sides that differ.

    Attributes:
        reference: The reference's.
        candidate: The candidate's own.
        certain: Whether each step has one tensor of this kind, so that no other could be meant.
        input: Whether they are what the model is called with.
    """

    reference: np.ndarray
    candidate: np.ndarray
    certain: bool
    input: bool


class Entries:
    """All entries of a pair of traces.

    A synchronised candidate gets the reference's tensors, and its own are noted as they would have entered; of other
    runs the arguments of the model's calls are taken in their order.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
    """

    def __init__(self, reference: Trace, candidate: Trace) -> None:
        self.reference = reference
        self.candidate = candidate
        noted = candidate.of(EnteredEvent)
        self.entries = self._noted(noted) if noted else self._arguments()

    def _noted(self, events: list[EnteredEvent]) -> list[Entry]:
        found: dict[tuple[int, str], Entry] = {}
        given = {(e.step, e.given.digest) for e in events if e.given is not None and not e.same}
        for e in events:
            if (e.step, e.own.digest) in given:
                continue  # what it was given enters again
            same = e.same or (e.given is not None and self._agree(e.own, e.given))
            found.setdefault((e.step, e.own.digest), Entry(e.step, e.own, e.given, same, e.file, e.line))
        return list(found.values())

    def _arguments(self) -> list[Entry]:
        sides = []
        for trace in (self.reference, self.candidate):
            roots = {layer.id for layer in trace.layers if layer.root}
            calls = [c for c in trace.of(CallEvent) if c.layer in roots]
            sides.append([(c.step, item.ref) for c in calls for item in c.inputs])
        found = []
        for (step, given), (other, own) in zip(*sides, strict=False):
            if step != other:
                break
            found.append(Entry(step, own, given, self._agree(own, given)))
        return found

    def _agree(self, own: TensorRef, given: TensorRef) -> bool:
        if own.size != given.size:
            return False
        if same_values(self.candidate, own, self.reference, given) and own.shape == given.shape:
            return True
        c, r = self.candidate.array(own), self.reference.array(given)
        core = [tuple(n for n in a.shape if n != 1) for a in (r, c)]
        return core[0] == core[1] and agree(np.atleast_1d(r.squeeze()), np.atleast_1d(c.squeeze()))

    @property
    def all_same(self) -> bool:
        """Whether everything that enters is what the reference has there."""
        return bool(self.entries) and all(e.same for e in self.entries)

    @property
    def place(self) -> Place:
        """The line of the loop where the first tensor enters."""
        first = next((e for e in self.entries if not e.same), None)
        return Place("", first.file, first.line) if first is not None else Place("")

    @property
    def steps(self) -> set[int]:
        """The steps that have entries."""
        return {e.step for e in self.entries}

    def differing(self) -> list[Differing]:
        """Samples that differ, those of one kind together, in the order of the steps."""
        groups: dict[tuple[object, ...], list[Entry]] = {}
        for e in self.entries:
            if not e.same and e.given is not None and e.own.shape and e.given.shape:
                key = (e.given.shape[1:], e.own.shape[1:], e.given.dtype[0], e.own.dtype[0])
                groups.setdefault(key, []).append(e)
        roots = {layer.id for layer in self.reference.layers if layer.root}
        inputs = {i.ref.digest for c in self.reference.of(CallEvent) if c.layer in roots for i in c.inputs}
        return [self._group(found, inputs) for found in groups.values()]

    def _group(self, found: list[Entry], inputs: set[str]) -> Differing:
        reference: list[np.ndarray] = []
        candidate: list[np.ndarray] = []
        for e in found:
            if e.given is not None and sum(a.size for a in reference) < LOOKED_AT:
                reference.append(self.reference.array(e.given))
                candidate.append(self.candidate.array(e.own))
        certain = len({e.step for e in found}) == len(found)
        entering = all(e.given is not None and e.given.digest in inputs for e in found)
        return Differing(np.concatenate(reference), np.concatenate(candidate), certain, entering)

    @property
    def homeless(self) -> list[Entry]:
        """The candidate's tensors for which the reference has none that fits."""
        return [e for e in self.entries if e.given is None]

    def undone(self) -> bool:
        """Whether the candidate's model brings its tensors into the reference's layout, or convolves them so."""
        roots = {layer.id for layer in self.reference.layers if layer.root}
        given = [i.ref for c in self.reference.of(CallEvent, 0) if c.layer in roots for i in c.inputs]
        convolutions = {layer.id for layer in self.candidate.layers if "Conv" in layer.type}
        own = {e.own.digest for e in self.homeless}
        calls = self.candidate.of(CallEvent, 0)
        if any(c.layer in convolutions and i.ref.digest in own for c in calls for i in c.inputs):
            return True
        seen = [i.ref for c in calls for i in c.inputs]
        seen += [i.ref for op in self.candidate.of(OpEvent, 0) for i in op.outputs]
        return any(
            ref.shape == other.shape and len(ref.shape) > 2 and self._agree(ref, other)
            for ref in seen
            for other in given
        )


def enters_unchanged(loader: Loader) -> bool:
    """Whether what the loader gives goes into the model as it is, not changed further by the loop."""
    roots = {layer.id for layer in loader.trace.layers if layer.root}
    given = {item.ref.digest for batch in loader.used for item in batch.items}
    noted = {e.own.digest for e in loader.trace.of(EnteredEvent)}
    calls = {i.ref.digest for c in loader.trace.of(CallEvent, 0) if c.layer in roots for i in c.inputs}
    return bool(given & (noted or calls))
