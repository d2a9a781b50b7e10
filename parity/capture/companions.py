"""Models that a script calls in its steps and that no optimizer updates: target networks, teachers, averages."""

from __future__ import annotations

from typing import Any

from parity.capture.frameworks.base import Held

MOST = 16
"""Companions of a script that are followed."""


class Companion:
    """One of them.

    Attributes:
        name: What the script calls it; no name twice.
        layer: The outermost layer that the script calls.
        held: Its parameters and buffers, by names that begin with its own.
        used: The step in which it was called last.
        calls: How often in that step.
        order: The paths of its layers in the order of their first calls, once it was called undifferentiated.
    """

    def __init__(self, name: str, layer: Any, held: list[Held]) -> None:
        self.name = name
        self.layer = layer
        self.held = held
        self.used = -1
        self.calls = 0
        self.order: list[str] = []

    def within(self, path: str) -> str:
        """The name of a parameter below its own."""
        return f"{self.name}.{path}"


class Companions:
    """The companions of a run, each from its first call on.

    Args:
        session: The session that asks.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._known: dict[int, Companion | None] = {}
        self.found: list[Companion] = []
        self.depth = 0
        self._called: dict[int, None] | None = None

    def of(self, layer: Any) -> Companion | None:
        """The companion that a layer is, called from outside of the model and of other companions; None for others."""
        if id(layer) in self._known:
            return self._known[id(layer)]
        session = self._session
        if not session.optimizers or session.inference or len(self.found) >= MOST:
            return None
        layer = session.adapter.unwrap(layer)
        if id(layer) in self._known:
            return self._known[id(layer)]
        held = session.adapter.held(layer)
        session._keep_forever(layer)
        companion = self._new(layer, held) if any(not h.buffer for h in held) else None
        self._known[id(layer)] = companion
        return companion

    def _new(self, layer: Any, held: list[Held]) -> Companion | None:
        session = self._session
        own = {id(h.tensor) for h in held}
        taken = {id(p) for o in session.optimizers for p in session.adapter.optimizer_parameters(o)}
        taken |= {id(h.tensor) for h in session.held}
        taken |= {id(h.tensor) for other in self.found for h in other.held}
        if not own.isdisjoint(taken):
            return None
        called = session._variable(layer)
        number = sum(other.name.partition("#")[0] == called for other in self.found)
        name = f"{called}#{number + 1}" if number else called
        companion = Companion(name, layer, [])
        companion.held = named(companion, held)
        self.found.append(companion)
        return companion

    def passed(self, layer: Any) -> None:
        """A layer inside of what is called without being differentiated is called."""
        if self._called is not None:
            self._called.setdefault(id(layer))

    def within(self, companion: Companion, run: Any) -> Any:
        """Calls a companion by `run()`, and notes the order of its layers the first time."""
        if companion.order or self._called is not None:
            return run()
        self._called = {}
        try:
            return run()
        finally:
            called, self._called = self._called, None
            paths = {id(layer): path for path, layer in self._session.adapter.named_layers(companion.layer)}
            companion.order = [paths[key] for key in called if paths.get(key)]

    def leave_out(self, taken: set[int]) -> None:
        """Forgets those that hold something of the model, now that it is known by the ids of its parameters."""
        for companion in list(self.found):
            if any(id(h.tensor) in taken for h in companion.held):
                self.found.remove(companion)
                self._known[id(companion.layer)] = None

    def refresh(self, companion: Companion) -> None:
        """Finds its parameters and buffers again: some objects are others after the model changed its precision."""
        companion.held = named(companion, self._session.adapter.held(companion.layer))

    def names(self) -> dict[int, str]:
        """The names of all their parameters and buffers, by what tells tensors apart."""
        adapter = self._session.adapter
        return {adapter.key(h.tensor): h.names[0] for companion in self.found for h in companion.held}


def named(companion: Companion, held: list[Held]) -> list[Held]:
    """Parameters by names that begin with a companion's."""
    return [h._replace(names=[companion.within(n) for n in h.names], owner=companion.within(h.owner)) for h in held]
