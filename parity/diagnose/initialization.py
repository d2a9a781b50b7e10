"""The stage `initialization`: whether each parameter starts from the reference's distribution, or its values."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from parity.diagnose.distributions import difference, holm, seen
from parity.diagnose.initial_values import Pair, Part, Sides, law_of, sample
from parity.diagnose.initializers import fix_for, said
from parity.diagnose.names import Names
from parity.diagnose.stage import Context, Result
from parity.document import Cause, Finding, Stage

LEVEL = 1e-6
"""Family-wise level at which distributions are called different."""

_TELLS = 0.15
"""A parameter whose number of draws would not have shown this relative difference of scale is undecided."""

_SAME = 1e-5
"""Relative RMS distance of values that are the same but for rounding in their making."""

_NEAR = 1e-2
"""Relative RMS distance up to which tables that were computed (position encodings) may differ by rounding."""


class _Verdict:
    """What was found at one pair."""

    def __init__(self, pair: Pair, kind: str, text: str, values: tuple[str, str], p: float, laws: Hashable) -> None:
        self.pair = pair
        self.kind = kind
        self.text = text
        self.values = values
        self.p = p
        self.laws = laws


def judge(context: Context) -> Result:
    """Holds the candidate's initial values, before it got the reference's, against the reference's own."""
    sides = Sides(context.reference, context.candidate)
    found: list[_Verdict] = []
    compared = 0
    undecided: list[str] = []
    open_: dict[Hashable, list[Pair]] = defaultdict(list)
    pairs = _untied(list(sides.pairs()))
    for pair in pairs:
        exact = _exact(pair)
        if isinstance(exact, _Verdict):
            found.append(exact)
            compared += 1
        elif exact:
            compared += 1
        elif not pair.candidate.info.buffer:
            open_[(pair.reference.key, pair.candidate.key)].append(pair)
    tested = []
    for group in open_.values():
        mine, theirs = sample([p.reference for p in group]), sample([p.candidate for p in group])
        if mine is None or theirs is None:
            undecided += [p.candidate.info.name for p in group]
            continue
        tested.append((difference(mine, theirs), mine, theirs, group))
    refuted = holm([result.p for result, *_ in tested], LEVEL)
    for (result, mine, theirs, group), differs in zip(tested, refuted, strict=True):
        if differs and result.what:
            r, c = law_of(group[0].reference, mine), law_of(group[0].candidate, theirs)
            values = said(r, mine), said(c, theirs)
            found += [_Verdict(p, "initializer", result.text, values, result.p, (r[0], c[0])) for p in group]
        elif result.what or seen(mine, theirs, LEVEL / len(tested)) > _TELLS:
            undecided += [p.candidate.info.name for p in group]
            continue
        compared += len(group)
    findings = _findings(context, pairs, found, sides)
    status = "match" if compared else "inconclusive" if pairs else "absent"
    note = _note(undecided)
    return Result(findings, Stage(status, compared, len(pairs), 0, note))


def _note(undecided: list[str]) -> str | None:
    if not undecided:
        return None
    shown = ", ".join(undecided[:3]) + (f" and {len(undecided) - 3} more" if len(undecided) > 3 else "")
    return f"undecided: too few draws of {shown}"


def _untied(pairs: list[Pair]) -> list[Pair]:
    """Leaves out the further holders of a tied reference parameter: that they are not tied is a finding of its own."""
    kept: dict[str, Pair] = {}
    others = []
    for pair in pairs:
        name = pair.reference.info.name
        if len(pair.reference.info.names) < 2 or pair.reference.own.size != pair.candidate.own.size:
            others.append(pair)
        elif name not in kept or (_exact(pair) is True and _exact(kept[name]) is not True):
            kept[name] = pair
    chosen = [id(p) for p in (*others, *kept.values())]
    return [pair for pair in pairs if id(pair) in chosen]


def _exact(pair: Pair) -> bool | _Verdict:
    """What the values themselves decide: True where they are equal, a verdict where they contradict, else False."""
    r, c = pair.reference, pair.candidate
    mine, theirs = _flat(r, pair.transposed), _flat(c, False)
    if mine.size == 0:
        return True
    scale = math.sqrt(float(np.mean(mine**2)))
    distance = math.sqrt(float(np.mean((mine - theirs) ** 2)))
    if distance <= _SAME * scale:
        return True
    constants = r.constant, c.constant
    random = [p.drawn for p in (r, c)]
    if None not in constants:
        kind = "initial-value"
        text = f"every element is {constants[0]:.6g} in the reference and {constants[1]:.6g} here"
        return _Verdict(pair, kind, text, (f"{constants[0]:.6g}", f"{constants[1]:.6g}"), 0.0, constants)
    if constants != (None, None):
        if c.info.buffer and any(random):
            return False
        known = [None if x is not None else sample([p]) for x, p in zip(constants, (r, c), strict=True)]
        laws = [law_of(p, s) for p, s in zip((r, c), known, strict=True)]
        values = said(laws[0], known[0]), said(laws[1], known[1])
        text = f"it starts as {values[0]} in the reference and as {values[1]} here"
        kind = "initializer" if any(random) else "initial-value"
        return _Verdict(pair, kind, text, values, 0.0, (laws[0][0], laws[1][0]))
    rows = r.zero_rows, c.zero_rows
    if rows[0] != rows[1] and not pair.transposed and len(rows[0]) + len(rows[1]) < 9:
        text = f"rows that start as zero: {_rows(rows[0])} in the reference, {_rows(rows[1])} here"
        shown = [f"zero rows: {_rows(found)}" for found in rows]
        return _Verdict(pair, "initial-value", text, (shown[0], shown[1]), 0.0, "rows")
    if any(random):
        return False
    return _stored(pair, mine, theirs, distance / scale if scale else math.inf)


def _stored(pair: Pair, mine: np.ndarray, theirs: np.ndarray, relative: float) -> bool | _Verdict:
    """Two sets of values that no initializer made: equal, the same in another order, nearly equal, or unrelated."""
    integer = pair.reference.own.dtype.kind in "iub" and pair.candidate.own.dtype.kind in "iub"
    if relative <= _NEAR and not integer:
        return True
    square = _square(pair)
    if square is not None and np.array_equal(mine.reshape(square).T.reshape(-1), theirs):
        return True
    a, b = np.sort(mine), np.sort(theirs)
    ordered = math.sqrt(float(np.mean((a - b) ** 2)) / max(float(np.mean(a**2)), 1e-300))
    spread = float(mine.std() * theirs.std())
    alike = float(np.mean((mine - mine.mean()) * (theirs - theirs.mean()))) / spread if spread > 0 else 0.0
    if ordered < _SAME and len(np.unique(a)) > 4:
        text = "the same values in another order"
    elif alike > 0.5 or pair.candidate.info.buffer:
        text = f"the values differ by {relative:.2g} of their RMS"
    else:
        return False
    shown = [f"{v.size} values, first {v[0]:.6g}" for v in (mine, theirs)]
    return _Verdict(pair, "initial-value", text, (shown[0], shown[1]), 0.0, "stored")


def _square(pair: Pair) -> tuple[int, int] | None:
    shape = pair.candidate.own.shape
    return (shape[0], shape[1]) if len(shape) == 2 and shape[0] == shape[1] else None


def _flat(part: Part, transposed: bool) -> np.ndarray:
    values = np.asarray(part.own, np.float64)
    if transposed:
        values = values.reshape([n for n in values.shape if n != 1]).T
    return values.reshape(-1)


def _rows(rows: list[int]) -> str:
    return ", ".join(map(str, rows)) or "none"


def _findings(context: Context, pairs: list[Pair], found: list[_Verdict], sides: Sides) -> list[Finding]:
    """One finding for each cause: the same difference at layers of one class is said once."""
    order = {id(pair): i for i, pair in enumerate(pairs)}
    causes: dict[Hashable, list[_Verdict]] = defaultdict(list)
    for verdict in sorted(found, key=lambda v: order[id(v.pair)]):
        r, c = verdict.pair.reference, verdict.pair.candidate
        types = tuple(p.layer.type if p.layer is not None else "" for p in (r, c))
        lone = () if c.layer is not None and c.layer.framework else (c.info.owner, c.info.name)
        causes[(verdict.kind, types, c.info.role, verdict.laws, lone)].append(verdict)
    return [_finding(context, group) for group in causes.values()]


def _finding(context: Context, group: list[_Verdict]) -> Finding:
    first = group[0]
    r, c = first.pair.reference, first.pair.candidate
    places = []
    for part, trace, value in ((r, context.reference, first.values[0]), (c, context.candidate, first.values[1])):
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
    others = list(dict.fromkeys(v.pair.candidate.info.name for v in group[1:]))
    others = [name for name in others if name != c.info.name]
    if others:
        text += f"; the same at {', '.join(others[:4])}" + (f" and {len(others) - 4} more" if len(others) > 4 else "")
    cause = "another initial distribution" if first.kind == "initializer" else "other initial values"
    if r.loaded and c.drawn:
        cause = "the reference's values come from a checkpoint; none was loaded into the candidate's parameter"
    elif c.loaded and r.drawn:
        cause = "the candidate's values come from a checkpoint, the reference's are drawn at random"
    evidence = first.text + (f" (p = {first.p:.1g})" if 0 < first.p < 1 else "")
    severity = "fault" if first.pair.confidence >= 0.7 or not c.info.buffer else "warning"
    finding = Finding(
        first.kind, "initialization", severity, "introduced", None, None, mine, theirs, None, None, None, text,
        Cause(f"{cause}: {first.text}", 0.97, evidence),
    )  # fmt: skip
    finding.fix = fix_for(r, c, sample([r]) if r.constant is None else None)
    return finding
