"""Dropout layers that only one model has."""

from __future__ import annotations

from parity.diagnose.counterparts import corresponding
from parity.diagnose.names import Names
from parity.diagnose.stage import HINT, Claim
from parity.diagnose.tree.modes import masks
from parity.document import Cause, Finding
from parity.model import CallEvent, LayerInfo
from parity.trace import Trace


def lone_dropouts(reference: Trace, candidate: Trace) -> list[tuple[Finding, Claim]]:
    """Dropout layers without counterpart, where the other side draws fewer masks of some size.

    They are hints: a functional dropout may stand for a layer.
    """
    drawn = masks(reference), masks(candidate)
    pairs = corresponding(reference, candidate)
    paired = {p.reference.path for p in pairs}, {p.candidate.path for p in pairs}
    found = []
    if drawn[0] - drawn[1]:
        for layer in _dropouts(reference, paired[0]):
            place = Names.of(layer)
            place.value = layer.arguments.get("p")
            text = f"{place.path} ({place.file}:{place.line}), {layer.type}, has no counterpart in the candidate"
            finding = _finding("dropout-missing", text)
            finding.reference, finding.fix = place, f"nn.{layer.type}(p={place.value})"
            found.append((finding, Claim(reference=frozenset([layer.path]))))
    if drawn[1] - drawn[0]:
        for layer in _dropouts(candidate, paired[1]):
            place = Names.of(layer)
            text = f"{place.path} ({place.file}:{place.line}), {layer.type}, has no counterpart in the reference"
            finding = _finding("dropout-extra", text)
            finding.candidate, finding.fix = place, f"remove {place.path}"
            found.append((finding, Claim(candidate=frozenset([layer.path]))))
    return found


def _dropouts(trace: Trace, paired: set[str]) -> list[LayerInfo]:
    active = {call.path for call in trace.of(CallEvent, 0) if call.training}
    return [
        layer for layer in trace.layers
        if layer.framework and layer.type.startswith("Dropout") and layer.path in active - paired
    ]  # fmt: skip


def _finding(kind: str, text: str) -> Finding:
    cause = Cause("a dropout that only one model has", 0.9)
    return Finding(kind, "structure", HINT, "introduced", 0, None, None, None, None, None, None, text, cause)
