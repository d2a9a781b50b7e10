"""The settings that optimizers hold for each parameter, step by step."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from parity.document import Cause, Finding, Place
from parity.model import ObjectInfo, OptimizerEvent
from parity.trace import Trace


class Setting(NamedTuple):
    """What one optimizer does to one parameter in one step."""

    event: OptimizerEvent
    group: dict[str, Any]


class Side:
    """One side's optimizers.

    Args:
        trace: The side's trace.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.made = [o for o in trace.objects if o.kind == "optimizer"]
        self.steps: dict[int, dict[str, Setting]] = defaultdict(dict)
        for event in trace.of(OptimizerEvent):
            for group in event.groups:
                for name in group.get("parameters", ()):
                    if name is not None:
                        self.steps[event.step][name] = Setting(event, group)

    def place(self, event: OptimizerEvent, value: Any = None) -> Place:
        """Where an optimizer was constructed, under the name that the script has for it."""
        info = self.info(event)
        return Place(event.name, info.file if info else event.file, info.line if info else event.line, value)

    def info(self, event: OptimizerEvent) -> ObjectInfo | None:
        """How an optimizer was constructed."""
        return self.made[event.index] if event.index < len(self.made) else None


def paired_parameters(candidate: Trace) -> list[tuple[str, str]]:
    """Each parameter of the reference with one that holds it in the candidate."""
    found = []
    for pair in (candidate.meta.mapping or {}).get("pairs", []):
        found += [(name, pair["candidate"]) for name in [pair["reference"], *pair["parts"]] if name]
    return found


def at(place: Place) -> str:
    """A place as a message names it."""
    return f"{place.path} ({place.file}:{place.line})" if place.file else place.path


def declared(kind: str, places: tuple[Place, Place], message: str, cause: Cause) -> Finding:
    """A difference in what was declared of an optimizer."""
    return Finding(
        kind, "hyperparameters", "fault", "introduced", 0, None, places[0], places[1], None, None, None, message, cause
    )
