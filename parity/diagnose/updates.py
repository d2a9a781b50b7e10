"""Whether both scripts learn: one that only calls its model where the other updates it is a fault."""

from __future__ import annotations

from parity.document import Finding, Place
from parity.trace import Trace


def findings(reference: Trace, candidate: Trace) -> list[Finding]:
    """The fault of a side that never updates its model, or that does so alone.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
    """
    learns, follows = not reference.meta.inference, not candidate.meta.inference
    if learns and not follows:
        told = "calls its model and never updates it: no step of an optimizer was seen, where the reference makes one"
        return [_fault("never-updated", f"the candidate {told}", False)]
    if not learns and candidate.meta.environment.get("updates"):
        return [_fault("updated", "the candidate updates its model, which the reference only calls", True)]
    return []


def _fault(kind: str, message: str, updates: bool) -> Finding:
    return Finding(
        kind, "optimizer", "fault", "introduced", 0, None, Place("", value=not updates), Place("", value=updates),
        None, None, None, message,
    )  # fmt: skip
