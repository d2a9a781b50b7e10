"""The stage `initialization`: whether each parameter starts from the reference's distribution, or its values."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable

from parity.diagnose.initial.contrast import Contrast, contrast
from parity.diagnose.initial.distributions import difference, holm, seen
from parity.diagnose.initial.initializers import fix_for, said
from parity.diagnose.initial.values import Pair, Part, Sides, law_of, sample
from parity.diagnose.names import Names
from parity.diagnose.stage import Context, Result
from parity.document import Cause, Finding, Stage
from parity.model import EvaluationEvent
from parity.trace import Trace
from parity.words import some

LEVEL = 1e-6
"""Family-wise level at which distributions are called different."""

_TELLS = 0.15
"""A parameter whose number of draws would not have shown this relative difference of scale is undecided."""

_SURE = 0.7
"""Confidence of an alignment from which on a buffer's values are judged."""

_CAUSES = {
    "not loaded": "the reference's values come from a checkpoint; none was loaded into the candidate's parameter",
    "loaded": "the candidate's values come from a checkpoint, the reference's do not",
}


def judge(context: Context) -> Result:
    """Holds the candidate's initial values, before it got the reference's, against the reference's own."""
    pairs = _untied(list(Sides(context.reference, context.candidate).pairs()))
    called = [_called_before(trace) for trace in (context.reference, context.candidate)]
    pairs = [
        p for p in pairs if not any(_moved(part, c) for part, c in zip((p.reference, p.candidate), called, strict=True))
    ]
    found: list[Contrast] = []
    unsettled: dict[Hashable, list[Pair]] = defaultdict(list)
    compared = 0
    for pair in pairs:
        result = contrast(pair)
        if result is not False:
            compared += 1
            found += [result] if isinstance(result, Contrast) else []
        elif not pair.candidate.info.buffer:
            unsettled[(pair.reference.key, pair.candidate.key)].append(pair)
    found = [one for one in found if not any(_exchanged(one, other) for other in found)]
    different, undecided = _tested(list(unsettled.values()))
    found += different
    compared += sum(map(len, unsettled.values())) - len(undecided)
    order = {id(pair): place for place, pair in enumerate(pairs)}
    causes: dict[Hashable, list[Contrast]] = defaultdict(list)
    for one in sorted(found, key=lambda one: order[id(one.pair)]):
        causes[_cause(one)].append(one)
    findings = [_finding(context.reference, context.candidate, group) for group in causes.values()]
    status = "match" if compared else "inconclusive" if pairs else "absent"
    return Result(findings, Stage(status, compared, len(pairs), 0, _note(undecided)))


def _exchanged(one: Contrast, other: Contrast) -> bool:
    """Whether two constants have changed places between like parameters: then these were paired crosswise."""
    values = [(c.pair.reference.constant, c.pair.candidate.constant) for c in (one, other)]
    sizes = [c.pair.reference.own.size for c in (one, other)]
    return None not in values[0] and values[0] == values[1][::-1] and sizes[0] == sizes[1]


def _called_before(trace: Trace) -> list[str]:
    """Models that were called in train mode before the first step, as a GAN's generator is to make a batch."""
    return [event.path for event in trace.of(EvaluationEvent, 0) if event.training]


def _moved(part: Part, called: list[str]) -> bool:
    """Whether a buffer may have left its initial values before they were recorded."""
    owner = part.info.owner
    return part.info.buffer and any(not path or owner == path or owner.startswith(path + ".") for path in called)


def _untied(pairs: list[Pair]) -> list[Pair]:
    """Leaves out the further holders of a tied reference parameter: that they are not tied is a finding of its own."""
    kept: dict[str, Pair] = {}
    left_out: set[int] = set()
    for pair in pairs:
        name = pair.reference.info.name
        if len(pair.reference.info.names) < 2 or pair.reference.own.size != pair.candidate.own.size:
            continue
        other = kept.setdefault(name, pair)
        if other is not pair:
            better = contrast(pair) is True and contrast(other) is not True
            left_out.add(id(other if better else pair))
            kept[name] = pair if better else other
    return [pair for pair in pairs if id(pair) not in left_out]


def _tested(groups: list[list[Pair]]) -> tuple[list[Contrast], list[str]]:
    """Tests distributions.

    Args:
        groups: Pairs that share a distribution on either side.

    Returns:
        The pairs whose distributions differ, and the names of those of which too little is known.
    """
    undecided: list[str] = []
    tested = []
    for group in groups:
        mine, theirs = sample([p.reference for p in group]), sample([p.candidate for p in group])
        if mine is None or theirs is None:
            undecided += [p.candidate.info.name for p in group]
        else:
            tested.append((difference(mine, theirs), mine, theirs, group))
    found: list[Contrast] = []
    refuted = holm([result.p for result, *_ in tested], LEVEL)
    for (result, mine, theirs, group), differs in zip(tested, refuted, strict=True):
        laws = law_of(group[0].reference, mine), law_of(group[0].candidate, theirs)
        values = said(laws[0], mine), said(laws[1], theirs)
        cause = laws[0][0], laws[1][0]
        if differs and result.what:
            found += [Contrast(p, "initializer", result.text, values, cause, result.p) for p in group]
        elif group[0].reference.loaded and group[0].candidate.drawn:
            text = "other values of a like distribution"
            found += [Contrast(p, "initial-value", text, values, cause, result.p, sure=False) for p in group]
        elif result.what or seen(mine, theirs, LEVEL / len(tested)) > _TELLS:
            undecided += [p.candidate.info.name for p in group]
    return found, undecided


def _cause(one: Contrast) -> Hashable:
    """Differences with the same cause are one finding: those of one kind at layers of one class."""
    r, c = one.pair.reference, one.pair.candidate
    if one.cause in _CAUSES:
        return one.cause
    lines = (r.file, r.line, c.file, c.line)
    if None not in lines and c.layer is not None and c.line != c.layer.line:
        return (one.kind, lines, one.cause)
    types = tuple(p.layer.type if p.layer is not None else "" for p in (r, c))
    return (one.kind, types, re.sub(r"\d+", "", c.info.role), one.cause)


def _finding(reference: Trace, candidate: Trace, group: list[Contrast]) -> Finding:
    first = next((one for one in group if one.sure), group[0])
    r, c = first.pair.reference, first.pair.candidate
    places = []
    for part, trace, value in ((r, reference, first.values[0]), (c, candidate, first.values[1])):
        place = Names(trace).place(part.info.name)
        if part.file is not None:
            place.file, place.line = part.file, part.line
        place.value = value
        places.append(place)
    mine, theirs = places
    text = (
        f"{theirs.path} ({theirs.file}:{theirs.line}) is initialized as {theirs.value}, "
        f"{mine.path} of the reference ({mine.file}:{mine.line}) as {mine.value}"
    )
    others = list(dict.fromkeys(one.pair.candidate.info.name for one in group if one is not first))
    others = [name for name in others if name != c.info.name]
    if others:
        text += f"; likewise {some(others, 4)}"
    known = "another initial distribution" if first.kind == "initializer" else "other initial values"
    cause = _CAUSES.get(str(first.cause), known)
    evidence = f"p = {first.p:.1g}" if 0 < first.p < 1 else ""
    fault = first.sure and (first.pair.confidence >= _SURE or not c.info.buffer)
    return Finding(
        first.kind, "initialization", "fault" if fault else "warning", "introduced", None, None, mine, theirs,
        None, None, None, text, Cause(f"{cause}: {first.text}", 0.97 if fault else 0.6, evidence),
        fix_for(r, c, sample([r]) if r.constant is None else None),
    )  # fmt: skip


def _note(undecided: list[str]) -> str | None:
    if not undecided:
        return None
    return f"undecided: too few draws of {some(undecided)}"
