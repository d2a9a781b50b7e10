"""Command-line options and configuration files of both scripts, name by name."""

from __future__ import annotations

import re
from typing import Any

from parity.diagnose.hyper.nested import Difference, differences
from parity.diagnose.hyper.provenance import configurations
from parity.diagnose.stage import Context
from parity.document import Cause, Finding, Place
from parity.model import ObjectInfo

_SURROUNDINGS = re.compile(
    r"device|worker|thread|log|save|print|verbos|output|path|dir|file|folder|debug|profil|seed|port|rank|host|url|resume",
    re.IGNORECASE,
)
"""Names of settings that say where and how a script runs, and not what it computes."""

_MOST = 8
"""Differences of one configuration that are findings of their own."""


def paired_configurations(context: Context) -> list[tuple[ObjectInfo, ObjectInfo]]:
    """Options with options, files with the file of the same name, and the only other file with the only other one."""
    mine, left = configurations(context.reference), configurations(context.candidate)
    pairs: list[tuple[ObjectInfo, ObjectInfo]] = []
    for one in mine:
        other = next((o for o in left if o.type == one.type), None)
        if other is not None:
            pairs.append((one, other))
            left.remove(other)
    rest = [o for o in mine if not any(o is known for known, _ in pairs)]
    if len(rest) == len(left) == 1 and "argparse" not in (rest[0].type, left[0].type):
        pairs.append((rest[0], left[0]))
    return pairs


def compared_configurations(context: Context, found: list[Finding]) -> list[Finding]:
    """Settings of the same name with other values: warnings, because what comes of them is judged by itself.

    Args:
        context: The pair of runs.
        found: What differs in what the scripts made of their settings; one with the same two values has its cause here.
    """
    findings: list[Finding] = []
    for one, other in paired_configurations(context):
        own: list[Finding] = []
        for difference in differences(one.arguments, other.arguments):
            if any(isinstance(key, str) and _SURROUNDINGS.search(key) for key in difference.keys):
                continue
            known = _consequence(difference, found)
            text = _said(one, other, difference)
            if known is not None and known.cause is not None:
                known.cause.evidence = "; ".join(filter(None, (known.cause.evidence, text)))
            elif known is None:
                own.append(_finding(one, other, difference, text))
        findings += own[:_MOST]
        if len(own) > _MOST:
            findings[-1].message += f"; {len(own) - _MOST} more settings differ"
    return findings


def _consequence(difference: Difference, found: list[Finding]) -> Finding | None:
    values = difference.reference, difference.candidate
    for finding in found:
        if finding.reference is not None and finding.candidate is not None:
            seen = finding.reference.value, finding.candidate.value
            if seen == values and all(type(v) is not bool and v is not None for v in values):
                return finding
    return None


def _said(one: ObjectInfo, other: ObjectInfo, difference: Difference) -> str:
    paths = [difference.path(i.name or i.type, attributes=not _file(i)) for i in (other, one)]
    right = f" ({paths[1]} of the reference)" if paths[1] != paths[0] else ""
    return f"{paths[0]}: {_short(difference.candidate)} != {_short(difference.reference)}{right}"


def _file(info: ObjectInfo) -> bool:
    """Whether settings came from a file, and not from options or an object whose attributes they are."""
    return "." in info.type or info.type in ("json", "yaml", "toml")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _finding(one: ObjectInfo, other: ObjectInfo, difference: Difference, text: str) -> Finding:
    words = isinstance(difference.reference, str) and isinstance(difference.candidate, str)
    places = [
        Place(i.name or i.type, i.file, i.line, v)
        for i, v in ((one, difference.reference), (other, difference.candidate))
    ]
    kind = "command-line options" if other.type == "argparse" else "configuration files" if _file(other) else "settings"
    cause = Cause(f"the {kind} of both scripts differ", 0.5)
    return Finding(
        "setting", "hyperparameters", "note" if words else "warning", None, None, None, places[0], places[1],
        None, None, None, text, cause,
    )  # fmt: skip
