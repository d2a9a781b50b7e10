"""Which backward passes of two runs belong together, where one side sums losses that the other one takes alone."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from parity.model import LossEvent, OptimizerEvent, ParameterGradEvent
from parity.trace import Trace


class Part(NamedTuple):
    """A backward pass of the reference among those that an optimizer call uses together.

    Attributes:
        reference: The numbers of these passes in the reference's step.
        candidate: Those of the candidate's passes that make the same sum.
        number: Stands for them in what is measured: the last one of the candidate's.
        last: Whether this pass completes them.
    """

    reference: tuple[int, ...]
    candidate: tuple[int, ...]
    number: int
    last: bool

    @property
    def merged(self) -> bool:
        """Whether only the sums can be compared."""
        return len(self.reference) != len(self.candidate)


def parts(reference: Trace, candidate: Trace, comparable: set[int]) -> dict[tuple[int, int], Part]:
    """The passes of the steps in which the two sides run another number of them before the same optimizer calls.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
        comparable: The steps in which both sides call some layer equally often: what differs there is only how losses
            are summed, and not how many batches an update takes.

    Returns:
        By step and number of the reference's pass; nothing for steps whose passes pair by their number.
    """
    found: dict[tuple[int, int], Part] = {}
    mine, theirs = _groups(reference), _groups(candidate)
    for step in comparable & mine.keys() & theirs.keys():
        own, other = mine[step], theirs[step]
        same = [len(group) for group in own] == [len(group) for group in other]
        if same or len(own) != len(other):
            continue
        for group, counterpart in zip(own, other, strict=True):
            for place, number in enumerate(group):
                if len(group) == len(counterpart):
                    found[(step, number)] = Part((number,), (counterpart[place],), counterpart[place], True)
                else:
                    found[(step, number)] = Part(tuple(group), tuple(counterpart), counterpart[-1], number == group[-1])
    return found


def _groups(trace: Trace) -> dict[int, list[list[int]]]:
    """The backward passes of each step, between its optimizer calls; several in a row use the same ones."""
    found: dict[int, list[list[int]]] = defaultdict(list)
    waiting: dict[int, set[int]] = defaultdict(set)
    for event in trace.events:
        if isinstance(event, (LossEvent, ParameterGradEvent)):
            waiting[event.step].add(event.backward)
        elif isinstance(event, OptimizerEvent):
            passes = sorted(waiting.pop(event.step, ()))
            if passes:
                found[event.step].append(passes)
    return found
