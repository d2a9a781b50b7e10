"""What the user has decided about findings beforehand: accepted ones and ignored paths become notes with a reason."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from parity.document import Finding
from parity.options import Accepted


def settle(findings: list[Finding], options: Any) -> list[Finding]:
    """Turns what is accepted or ignored into notes, and says which decision fits nothing.

    Args:
        findings: All findings, which are changed in place.
        options: `accepted` and `ignored`.
    """
    used: set[int] = set()
    accepted_of, ignored_of = getattr(options, "accepted", ()), getattr(options, "ignored", ())
    for finding in findings:
        if finding.severity == "note":
            continue
        for number, accepted in enumerate(accepted_of):
            if _fits(accepted, finding):
                used.add(number)
                _decide(finding, "accepted", accepted.reason)
        for ignored in ignored_of:
            if finding.severity != "note" and any(map(ignored.covers, _paths(finding))):
                _decide(finding, "ignored", ignored.reason)
    idle = [accepted for number, accepted in enumerate(accepted_of) if number not in used]
    return findings + [_idle(accepted) for accepted in idle]


def _paths(finding: Finding) -> list[str]:
    return [place.path for place in (finding.candidate, finding.reference) if place is not None]


def _fits(accepted: Accepted, finding: Finding) -> bool:
    if accepted.kind is not None and accepted.kind != finding.kind:
        return False
    if accepted.stage is not None and accepted.stage != finding.stage:
        return False
    if accepted.path is not None and not any(fnmatchcase(path, accepted.path) for path in _paths(finding)):
        return False
    for wanted, place in ((accepted.candidate, finding.candidate), (accepted.reference, finding.reference)):
        if wanted is not None and not (place is not None and fnmatchcase(place.path, wanted)):
            return False
    return True


def _decide(finding: Finding, how: str, reason: str) -> None:
    finding.severity = "note"
    finding.message = f"{finding.message} ({how}: {reason})"


def _idle(accepted: Accepted) -> Finding:
    named = {"kind": accepted.kind, "stage": accepted.stage, "path": accepted.path, "candidate": accepted.candidate,
             "reference": accepted.reference}  # fmt: skip
    what = ", ".join(f"{key} {value}" for key, value in named.items() if value is not None)
    message = f"parity.toml accepts {what}, which was not found: the entry can go"
    return Finding("accepted", "environment", "note", None, None, None, None, None, None, None, None, message)
