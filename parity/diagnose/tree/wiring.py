"""Layers that run in another order than their counterparts: read from the data flow of the first step."""

from __future__ import annotations

from collections import defaultdict
from itertools import takewhile
from typing import NamedTuple

from parity.diagnose.counterparts import corresponding
from parity.diagnose.lone_ops import EXTRA, MISSING, OTHER
from parity.diagnose.pairing import LayerPair, family_of
from parity.document import Cause, Finding, Place
from parity.model import CallEvent, OpEvent, SourceEvent
from parity.trace import Trace

_UNKNOWN = {
    "forward": ("unexplained", MISSING, EXTRA, OTHER), "backward": ("unexplained",), "metrics": ("evaluation-mode",),
}  # fmt: skip
"""Kinds of findings, by stage, that two layers may explain which have changed places."""


class Swapped(NamedTuple):
    """Two pairs of layers of which the reference runs `early` before `late`, and the candidate after it."""

    early: LayerPair
    late: LayerPair

    @property
    def lines(self) -> tuple[object, ...]:
        """Equal for what the same lines of the scripts do."""
        return tuple((layer.file, layer.line) for pair in self for layer in pair)


def explain_order(
    findings: list[Finding], reference: Trace, candidate: Trace, stage: str
) -> tuple[list[Finding], list[Finding]]:
    """Makes a finding of structure of divergences where layers have changed places.

    Args:
        findings: All findings.
        reference: The reference's trace.
        candidate: The candidate's trace.
        stage: The stage that the findings get.

    Returns:
        What is left of the findings, and those that went as evidence.
    """
    unknown = [f for f in findings if f.kind in _UNKNOWN.get(f.stage, ()) and f.status == "introduced"]
    swaps = swapped(reference, candidate) if any(f.stage == "forward" for f in unknown) else []
    made: dict[tuple[object, ...], Finding] = {}
    folded: list[Finding] = []
    for finding in unknown:
        swap = next((s for s in swaps if _around(finding, s)), None)
        if swap is None or (finding.stage != "forward" and swap.lines not in made):
            continue
        folded.append(finding)
        if swap.lines not in made:
            made[swap.lines] = _finding(finding, swap, reference, candidate, stage)
    gone = {id(f) for f in folded}
    return list(made.values()) + [f for f in findings if id(f) not in gone], folded


def _finding(seen: Finding, swap: Swapped, reference: Trace, candidate: Trace, stage: str) -> Finding:
    """What two layers have swapped, where the first divergence by it was measured."""
    places = []
    for side, trace in enumerate((reference, candidate)):
        paths = [pair[side].path for pair in swap]
        file, line = _called(trace, paths[0])
        places.append(Place(_above(*paths), file or swap.early[side].file, line or swap.early[side].line))
    (r, c), (other_r, other_c) = swap
    text = (
        f"{c.path} runs behind {other_c.path} in the candidate ({places[1].file}:{places[1].line}); in the reference "
        f"{r.path} runs before {other_r.path} ({places[0].file}:{places[0].line})"
    )
    return Finding(
        "layer-order", stage, "fault", "introduced", seen.step, None, places[0], places[1], seen.error, seen.floor,
        seen.ratio, text, Cause("layers are called in another order", 0.9, seen.message),
        f"call {c.path} before {other_c.path}",
    )  # fmt: skip


def _called(trace: Trace, path: str) -> tuple[str | None, int | None]:
    """The script's line that calls a layer, as the ops in it have it."""
    calls = {call.id for call in trace.of(CallEvent, 0) if call.path == path}
    op = next((op for op in trace.of(OpEvent, 0) if op.parent in calls and op.file), None)
    return (op.file, op.line) if op is not None else (None, None)


def _above(one: str, other: str) -> str:
    """The innermost layer that holds both."""
    words = [path.split(".")[:-1] for path in (one, other)]
    return ".".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*words, strict=False)))


def _around(finding: Finding, swap: Swapped) -> bool:
    """Whether a finding lies at one of two layers, or where they are called."""
    for side, place in enumerate((finding.reference, finding.candidate)):
        if place is None:
            continue
        for pair in swap:
            path = pair[side].path
            if place.path in (path, path.rpartition(".")[0]):
                return True
    return False


def swapped(reference: Trace, candidate: Trace) -> list[Swapped]:
    """Pairs of layers in whose order both sides differ, those first that run first in the reference."""
    pairs = corresponding(reference, candidate)
    by_path = ({p.reference.path: p for p in pairs}, {p.candidate.path: p for p in pairs})
    mine, order = _upstream(reference, set(by_path[0]))
    theirs, _ = _upstream(candidate, set(by_path[1]))
    found = []
    for late in pairs:
        loose = _commutes(late)
        for path in mine.get(late.reference.path, ()):
            early = by_path[0][path]
            above = theirs.get(early.candidate.path, ())
            if loose and _commutes(early):
                continue
            if late.candidate.path in above and early.candidate.path not in theirs.get(late.candidate.path, ()):
                found.append(Swapped(early, late))
    return sorted(found, key=lambda s: (order[s.early.reference.path], order[s.late.reference.path]))


_COMMUTING = frozenset(["dropout", "relu6", "leakyrelu", "relu", "maxpool", "flatten", "identity"])
"""Families of layers whose order among themselves changes nothing."""


def _commutes(pair: LayerPair) -> bool:
    return family_of(pair.reference.type) in _COMMUTING


def _upstream(trace: Trace, paths: set[str]) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Of each of these layers all others whose results reach it in the first step, and the order of their first calls.

    A layer that is called several times is left out: it may stand at several places. A tensor whose identity was lost
    on its way is known again by its content.
    """
    lost = {event.vid: event.ref.digest for event in trace.of(SourceEvent, 0)}
    made: dict[str, frozenset[str]] = {}
    calls = [call for call in trace.of(CallEvent, 0) if call.path in paths]
    times: dict[str, int] = defaultdict(int)
    for call in calls:
        times[call.path] += 1
    records: list[tuple[int, CallEvent | OpEvent]] = [(op.id, op) for op in trace.of(OpEvent, 0)]
    records += [(call.end, call) for call in calls]
    reach: dict[int, frozenset[str]] = {}
    above: dict[str, set[str]] = {}
    for _, record in sorted(records, key=lambda pair: pair[0]):
        read = record.inputs if isinstance(record, OpEvent) else [item.vid for item in record.inputs]
        none: frozenset[str] = frozenset()
        sources = none.union(*(reach[v] if v in reach else made.get(lost.get(v, ""), none) for v in read))
        if isinstance(record, CallEvent) and times[record.path] == 1:
            above[record.path] = set(sources) - {record.path}
            sources |= {record.path}
        for item in record.outputs:
            reach[item.vid] = made[item.ref.digest] = sources
    return above, {call.path: call.id for call in sorted(calls, key=lambda c: -c.id)}
