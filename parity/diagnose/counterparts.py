"""What one side's class is on the other: by the tables of `mappings/`, or itself where both are one framework."""

from __future__ import annotations

from typing import Any

from parity import mapping
from parity.diagnose.hyper.nested import differences
from parity.diagnose.pairing import LayerPair, layer_pairs
from parity.mapping import ABSENT, Compared, Entry, Parameter
from parity.trace import Trace

Arguments = dict[str, Any]

_CLASSES = frozenset(["layer", "container", "loss", "optimizer"])
"""Kinds of entries that are about classes: a function of the same name has other parameters."""

_WITHOUT_EFFECT = frozenset(["inplace", "device", "dtype", "foreach", "fused", "capturable", "differentiable"])
"""Parameters of the reference that change no value."""


class Counterparts:
    """Answers for one pair of runs.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
    """

    def __init__(self, reference: Trace, candidate: Trace) -> None:
        self.same = reference.meta.framework == candidate.meta.framework
        self.mapped = (reference.meta.framework, candidate.meta.framework) == ("torch", "mindspore")

    def known(self, reference: str, candidate: str) -> bool:
        """Whether two classes are counterparts."""
        if self.same:
            return reference == candidate
        return self._entry(reference, candidate) is not None

    def others(self, reference: str, candidate: str) -> list[str]:
        """The counterparts of a class, where the candidate's class is a known one and not among them."""
        if self.same:
            return [reference] if reference != candidate else []
        same = reference.lower() == candidate.lower()
        is_class = any(entry.kind in _CLASSES for entry in mapping.find(candidate))
        if same or not self.mapped or not is_class or self.known(reference, candidate):
            return []
        known = [entry for entry in mapping.counterparts(reference) if entry.kind in _CLASSES]
        return [entry.candidate for entry in known if entry.candidate]

    def compare(
        self, reference: str, candidate: str, mine: Arguments, theirs: Arguments, shape: tuple[int, ...] | None = None
    ) -> list[Compared]:
        """The arguments that differ in meaning; takes what `every` takes."""
        return [item for item in self.every(reference, candidate, mine, theirs, shape) if item.equal is False]

    def every(
        self, reference: str, candidate: str, mine: Arguments, theirs: Arguments, shape: tuple[int, ...] | None = None
    ) -> list[Compared]:
        """All arguments that have to do with what is computed.

        Args:
            reference: The reference's class.
            candidate: The candidate's class.
            mine: The reference's effective arguments.
            theirs: The candidate's.
            shape: The layer's input, where it is known.
        """
        if self.same:
            found = _by_name(mine, theirs) if reference == candidate else []
        else:
            entry = self._entry(reference, candidate, theirs)
            found = mapping.compare(entry, mine, theirs, shape) if entry is not None else []
        return [item for item in found if _matters(item.parameter)]

    def _entry(self, reference: str, candidate: str, arguments: Arguments | None = None) -> Entry | None:
        entry = mapping.lookup(reference, candidate, arguments) if self.mapped else None
        return entry if entry is not None and entry.kind in _CLASSES else None


def corresponding(reference: Trace, candidate: Trace) -> list[LayerPair]:
    """The library layers of two runs that stand for each other, as `layer_pairs` finds them."""
    return layer_pairs(reference, candidate, Counterparts(reference, candidate).known)


def _matters(parameter: Parameter) -> bool:
    """Whether a parameter has to do with what is computed, and not with initial values."""
    name = parameter.candidate or ""
    if name.endswith("_init") or name == "embedding_table" or parameter.transform == "initializer":
        return False
    return parameter.reference not in _WITHOUT_EFFECT


def _by_name(mine: Arguments, theirs: Arguments) -> list[Compared]:
    """The same signature on both sides: unequal values differ, where they are values and no descriptions of objects."""
    found = []
    for name, one in mine.items():
        other = theirs.get(name, ABSENT)
        if other is ABSENT:
            continue
        plain = all(isinstance(v, (bool, int, float, list, type(None))) for v in (one, other))
        equal = True if one == other else False if plain else None
        if isinstance(one, dict) and isinstance(other, dict):
            equal = not differences(one, other)
        parameter = Parameter(name, ABSENT, name, ABSENT, "same", False)
        found.append(Compared(parameter, one, other, one, equal, fix=f"{name}={one!r}"))
    return found
