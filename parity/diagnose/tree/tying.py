"""Parameters that the candidate shares and the reference holds apart."""

from __future__ import annotations

from parity.diagnose.names import Names
from parity.document import Cause, Finding
from parity.model import ParameterGradEvent, ParameterInfo
from parity.trace import Trace


def tied_alone(findings: list[Finding], reference: Trace, candidate: Trace) -> list[Finding]:
    """One tensor of the candidate for several of the reference: a fault of structure, and its echoes go."""
    mapping = candidate.meta.mapping or {}
    pairs = mapping.get("pairs", [])
    counterpart = {pair["candidate"]: pair["reference"] for pair in pairs}
    paired = {name for pair in pairs for name in (pair["reference"], *pair["parts"])}
    partners = {
        node["candidate"][0]: node["reference"][0]
        for node in mapping.get("nodes", [])
        if len(node["reference"]) == len(node["candidate"]) == 1
    }
    learned = {event.name for event in reference.of(ParameterGradEvent)}
    apart = [p for p in reference.parameters if p.trainable and p.name in learned - paired]
    mine, theirs = Names(reference), Names(candidate)
    kept, found = list(findings), []
    for shared in candidate.parameters:
        first = counterpart.get(shared.name)
        if not shared.trainable or len(shared.names) < 2 or first is None:
            continue
        for alias in shared.names[1:]:
            owner = partners.get(alias.rpartition(".")[0])
            other = next((p for p in apart if p.owner == owner and _fits(p, shared)), None)
            if other is None:
                continue
            places = {other.name, other.owner, first, first.rpartition(".")[0]}
            echoes = [f for f in kept if f.status == "introduced" and f.reference and f.reference.path in places]
            kept = [f for f in kept if f not in echoes]
            r, c = mine.place(other.name), theirs.place(alias.rpartition(".")[0])
            c.path = alias
            text = (
                f"{alias} ({c.file}:{c.line}) is the same parameter as {shared.name} in the candidate; the reference "
                f"holds {other.name} ({r.file}:{r.line}) apart from {first}"
            )
            cause = Cause("a parameter is shared in the candidate only", 0.95, echoes[0].message if echoes else "")
            fix = f"give {alias} a Parameter of its own"
            finding = Finding(
                "tied-parameter", "structure", "fault", "introduced", None, None, r, c, None, None, None, text
            )
            finding.cause, finding.fix = cause, fix
            found.append(finding)
    return found + kept


def _fits(one: ParameterInfo, other: ParameterInfo) -> bool:
    """Whether two parameters have one shape, up to a transposition and axes of length 1."""
    shapes = [sorted(n for n in p.shape if n != 1) for p in (one, other)]
    return shapes[0] == shapes[1]
