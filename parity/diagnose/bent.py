"""Shapes that differ: where another shape is made, and where it only arrives."""

from __future__ import annotations

from parity.diagnose.graph import Flow
from parity.measured import Measured
from parity.model import CallEvent
from parity.trace import Trace


class Bent:
    """Follows another shape through the model: behind it nothing can be forced, so that all else differs, too.

    Args:
        flow: The data flow of the forced run.
        reference: The reference's trace.
    """

    def __init__(self, flow: Flow, reference: Trace) -> None:
        self.flow = flow
        self.calls = {(c.step, c.path, c.call): c for c in reference.every(CallEvent)}
        self.first: dict[int, int] = {}
        self.tags = {r.tag for r in flow.forced.measured if r.mismatch == "shape" and r.forced < 0}

    def inherits(self, record: Measured) -> bool:
        """Whether a forward difference follows from a shape that differs further ahead; to be asked in order."""
        if record.mismatch != "shape":
            return self._crosses(record)
        seen = self.first.setdefault(record.step, record.order) < record.order
        return seen and (self._crosses(record) or self.fed_otherwise(record))

    def enters(self, record: Measured) -> bool:
        """Whether a gradient comes back through a tensor of another shape."""
        if not self.tags or record.kind != "gradient":
            return False
        ahead = self.flow.ahead(self.flow.put_in(record))
        return any(not self.tags.isdisjoint(op.outputs) for op in ahead)

    def _crosses(self, record: Measured) -> bool:
        others = self.tags - {record.tag}
        return bool(others) and any(not others.isdisjoint(op.outputs) for op in self.flow.behind(record.tag)[0])

    def fed_otherwise(self, record: Measured) -> bool:
        """Whether a layer that makes another shape was given another one, too."""
        if record.mismatch != "shape":
            return False
        mine, theirs = self.calls.get((record.step, record.path, record.call)), self.flow.calls.get(record.event)
        if mine is None or theirs is None:
            return False
        return [i.ref.size for i in mine.inputs] != [i.ref.size for i in theirs.inputs]
