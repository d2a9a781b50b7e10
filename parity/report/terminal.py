"""The comparison as text for a terminal: the verdict first, then the first fault, then everything else."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from rich.text import Text

from parity.document import STAGES, Comparison, Finding, Place, Side
from parity.words import some

COLORS = {"match": "green", "diverged": "red", "inconclusive": "yellow", "error": "red"}
SHOWN = 5
"""Names that a line of names shows before it only counts."""


def render(comparison: Comparison) -> Text:
    """The whole report, without a final newline. Styles carry no information of their own."""
    lines = [Text(safe(comparison.headline), style=f"bold {COLORS.get(comparison.verdict, '')}".strip())]
    faults = [f for f in comparison.findings if f.severity == "fault" and f.status != "propagated"]
    first = comparison.findings[comparison.first] if comparison.first is not None else None
    groups = _alike(faults if first is None else [first, *(f for f in faults if f is not first)])
    if first is not None:
        lines += [Text(), *_block(first), *_likewise(groups.pop(0)[1:])]
    if groups:
        besides = "Introduced besides" if first is not None else "Introduced"
        lines += [Text(), Text(f"{besides} ({sum(map(len, groups))}):", style="bold")]
        for one, *same in groups:
            lines += [*_block(one), *_likewise(same)]
    lines += _propagated(comparison.findings)
    for severity, title in (("warning", "Warnings"), ("note", "Notes")):
        found = [f for f in comparison.findings if f.severity == severity and f.status != "propagated"]
        if found:
            lines += [Text(), Text(f"{title}:", style="bold"), *(_sentence(finding) for finding in found)]
    lines += [Text(), *_stages(comparison), *_unaligned(comparison), Text()]
    for name, side in (("reference", comparison.reference), ("candidate", comparison.candidate)):
        lines += _side(name, side)
    return Text("\n").join(lines)


def safe(text: str) -> str:
    """A text without characters that steer a terminal or turn the reading order; they are shown as escapes."""
    steering = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return "".join(_escape(char) if unicodedata.category(char) in steering else char for char in text)


def safe_lines(text: str) -> str:
    """The same for a text of several lines, such as a traceback."""
    return "\n".join(safe(line.replace("\t", "    ")) for line in text.split("\n"))


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _place(place: Place | None) -> str:
    """`encoder.layers.1.norm (ms.py:57)`."""
    if place is None:
        return "nothing"
    where = f"{place.file}:{place.line}" if place.line is not None else place.file
    return safe(place.path or "the model") + (f" ({safe(where)})" if where else "")


def _measured(finding: Finding) -> str:
    """Stage, step, op and the three numbers, as far as there are any."""
    words = [finding.stage]
    if finding.step is not None:
        words.append(f"step {finding.step}")
    if finding.op:
        words.append(safe(finding.op))
    text = ", ".join(words)
    if finding.error is not None:
        text += f": {finding.error:.1e}"
        if finding.floor is not None:
            text += f" where rounding explains {finding.floor:.1e}"
        if finding.ratio is not None:
            text += f", {finding.ratio:,.0f} times that" if finding.ratio >= 10 else f", {finding.ratio:.1f} times that"
    return text


def _block(finding: Finding) -> Iterable[Text]:
    """One fault: both places, the numbers, the words, cause and fix."""
    message = safe(finding.message)
    if any(place is not None and (place.path or place.file) for place in (finding.reference, finding.candidate)):
        line = Text("  ")
        line.append(_place(finding.candidate), style="bold")
        line.append(f" against {_place(finding.reference)}")
        yield line
        yield Text(f"      {_measured(finding)}")
        if message and not message.startswith(_place(finding.candidate)):  # else it says the lines above again
            yield Text(f"      {message}")
    else:
        yield Text(f"  {message}", style="bold")
        yield Text(f"      {_measured(finding)}")
    values = [p.value for p in (finding.reference, finding.candidate) if p is not None]
    if any(value is not None for value in values):
        yield Text(f"      values, reference and candidate: {', '.join(safe(repr(value)) for value in values)}")
    if finding.cause is not None:
        evidence = f"; {safe(finding.cause.evidence)}" if finding.cause.evidence else ""
        yield Text(f"      cause ({finding.cause.confidence:.0%} sure): {safe(finding.cause.text)}{evidence}")
    if finding.fix:
        yield Text(f"      fix: {safe(finding.fix)}", style="green")


def _alike(findings: list[Finding]) -> list[list[Finding]]:
    """Findings that say the same of several places, together: the same declared values or the same lines."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        places = [p for p in (finding.reference, finding.candidate) if p is not None]
        values = [repr(place.value) for place in places if place.value is not None]
        lines = [(place.file, place.line) for place in places]
        same = tuple(values) if len(values) == 2 else tuple(lines)
        known = len(values) == 2 or (len(lines) == 2 and all(line is not None for _, line in lines))
        key = (finding.stage, finding.kind, finding.op, *same) if known else (id(finding),)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def _likewise(findings: list[Finding]) -> list[Text]:
    """The other places of which the same is to be said."""
    if not findings:
        return []
    places = [_place(finding.candidate or finding.reference) for finding in findings]
    return [Text(f"      likewise at {some(places, SHOWN)}")]


def _propagated(findings: list[Finding]) -> list[Text]:
    found = [f for f in findings if f.status == "propagated"]
    if not found:
        return []
    names = dict.fromkeys(_path(f) for f in found)
    return [Text(), Text(f"Only inherited ({len(found)}): {_names(names)}")]


def _path(finding: Finding) -> str:
    place = finding.candidate or finding.reference
    return (place.path if place is not None else "") or "the model"


def _names(names: Iterable[str]) -> str:
    return some([safe(name) for name in names], SHOWN)


def _sentence(finding: Finding) -> Text:
    place = finding.candidate or finding.reference
    where, message = f"{_place(place)}: " if place is not None and (place.path or place.file) else "", finding.message
    if safe(message).startswith(_place(place)):
        where = ""
    fix = f"; fix: {safe(finding.fix)}" if finding.fix else ""
    return Text(f"  {finding.stage}: {where}{safe(message)}{fix}")


def _stages(comparison: Comparison) -> Iterable[Text]:
    """The table of stages; those that were left out, or that neither script has, share a line."""
    yield Text("Compared:", style="bold")
    left_out: dict[str, list[str]] = {}
    for name in (*STAGES, *(set(comparison.stages) - set(STAGES))):
        stage = comparison.stages.get(name)
        if stage is None:
            continue
        if stage.status in ("absent", "skipped"):
            why = (
                "in neither script"
                if stage.status == "absent"
                else f"skipped, {stage.note}"
                if stage.note
                else "skipped"
            )
            left_out.setdefault(why, []).append(name)
            continue
        line = Text(f"  {safe(name):16}")
        line.append(f"{safe(stage.status):13}", style=COLORS.get(stage.status, ""))
        parts = [f"{stage.compared} of {stage.total}"] if stage.total else []
        counts = ", ".join([*parts, f"{stage.diverged} diverged"] if stage.diverged else parts)
        line.append(f"{counts:24}")
        line.append(safe(stage.note or ""))
        line.rstrip()
        yield line
    for why, names in left_out.items():
        yield Text(f"  {safe(why)}: {', '.join(map(safe, names))}")


def _unaligned(comparison: Comparison) -> Iterable[Text]:
    sides = (("reference", comparison.unaligned.reference), ("candidate", comparison.unaligned.candidate))
    if any(names for _, names in sides):
        yield Text()
        yield Text("Not aligned:", style="bold")
    for side, names in sides:
        if names:
            yield Text(f"  {side}: {len(names)}: {_names(names)}")


def _side(name: str, side: Side) -> Iterable[Text]:
    parts = [f"{side.framework} {side.version}".strip(), f"Python {side.python}" if side.python else ""]
    parts.append(f"{side.steps} step{'' if side.steps == 1 else 's'}" if side.framework or side.steps else "")
    shown = ", ".join(safe(p) for p in parts if p)
    yield Text(f"{name}: {' '.join(map(safe, side.command))}" + (f" ({shown})" if shown else ""), style="dim")
    for note in side.notes:
        yield Text(f"  {safe(note)}")
