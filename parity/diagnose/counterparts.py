"""What one side's class is on the other: by the tables of `mappings/`, or itself where both are one framework."""

from __future__ import annotations

from typing import Any

from parity import mapping
from parity.mapping import ABSENT, Compared, Parameter
from parity.trace import Trace

Arguments = dict[str, Any]


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
        return self.mapped and mapping.lookup(reference, candidate) is not None

    def others(self, reference: str, candidate: str) -> list[str]:
        """The counterparts of a class, where the candidate's class is a known one and not among them."""
        if self.same:
            return [reference] if reference != candidate else []
        if not self.mapped or not mapping.find(candidate) or self.known(reference, candidate):
            return []
        return [entry.candidate for entry in mapping.counterparts(reference) if entry.candidate]

    def compare(
        self, reference: str, candidate: str, mine: Arguments, theirs: Arguments, shape: tuple[int, ...] | None = None
    ) -> list[Compared]:
        """The arguments that differ in meaning.

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
            entry = mapping.lookup(reference, candidate, theirs) if self.mapped else None
            found = mapping.compare(entry, mine, theirs, shape) if entry is not None else []
        return [item for item in found if item.equal is False]


def _by_name(mine: Arguments, theirs: Arguments) -> list[Compared]:
    """The same signature on both sides: unequal values differ, where they are values and no descriptions of objects."""
    found = []
    for name, one in mine.items():
        other = theirs.get(name, ABSENT)
        if other is ABSENT or one == other:
            continue
        plain = all(isinstance(v, (bool, int, float, list, type(None))) for v in (one, other))
        parameter = Parameter(name, ABSENT, name, ABSENT, "same", False)
        found.append(Compared(parameter, one, other, one, False if plain else None, fix=f"{name}={one!r}"))
    return found
