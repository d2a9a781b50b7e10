"""Faults of structure that the parameters' correspondence shows: untied, missing and additional ones."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from parity.diagnose.evaluations import evaluated
from parity.diagnose.names import Names
from parity.diagnose.stage import Claim, Context, Result
from parity.diagnose.tree.dropouts import lone_dropouts
from parity.diagnose.tree.dtypes import dtypes
from parity.diagnose.tree.modes import modes
from parity.diagnose.tree.trainable import trained
from parity.document import Cause, Finding, Place, Stage
from parity.model import CallEvent, ParameterGradEvent
from parity.trace import Trace


def judge(context: Context) -> Result:
    """Compares what is trained, in which mode and in which precision."""
    reference, candidate = context.reference, context.candidate
    resting = trained(reference, candidate)
    findings = [finding for finding, _ in resting]
    claims = {
        n: Claim(frozenset(names), frozenset([f.candidate.path] if f.candidate and f.candidate.path else []),
                 kinds=frozenset(["gradient-missing"]))
        for n, (f, names) in enumerate(resting)
    }  # fmt: skip
    moody = modes(reference, candidate) or evaluated(reference, candidate)
    for finding, claim in [*moody, *lone_dropouts(reference, candidate)]:
        claims[len(findings)] = claim
        findings.append(finding)
    findings += dtypes(reference, candidate)
    pairs = (candidate.meta.mapping or {}).get("pairs", [])
    total = sum(p.trainable for p in reference.parameters)
    compared = len({name for pair in pairs for name in [pair["reference"], *pair["parts"]] if name})
    stage = Stage("match" if compared else "inconclusive", min(compared, total), total)
    sizes = [sum(math.prod(p.shape) for p in trace.parameters if p.trainable) for trace in (reference, candidate)]
    if sizes[0] != sizes[1]:
        stage.note = f"the reference trains {sizes[0]:,} numbers, the candidate {sizes[1]:,}"
    return Result(findings, stage, claims)


def untied(findings: list[Finding], reference: Trace, candidate: Trace) -> list[Finding]:
    """One tensor of the reference that the candidate holds as several: a fault of structure, and its echoes go."""
    holders: dict[str, list[str]] = defaultdict(list)
    for pair in (candidate.meta.mapping or {}).get("pairs", []):
        if pair["transform"] in ("same", "reshape", "transpose"):
            holders[pair["reference"]].append(pair["candidate"])
    mine, theirs = Names(reference), Names(candidate)
    kept, found = list(findings), []
    for parameter in reference.parameters:
        several = holders.get(parameter.name, [])
        if not parameter.trainable or len(parameter.names) < 2 or len(several) < 2:
            continue
        owners = {name.rpartition(".")[0] for name in parameter.names}
        echoes = [
            f for f in kept if f.reference and (f.reference.path in owners or f.reference.path in parameter.names)
        ]
        kept = [f for f in kept if f not in echoes]
        r, c = mine.place(parameter.names[-1]), theirs.place(several[-1])
        text = (
            f"{' and '.join(parameter.names)} are one tied parameter in the reference; the candidate holds "
            f"{' and '.join(several)} as separate parameters"
        )
        finding = Finding(
            "tied-parameter", "structure", "fault", "introduced", None, None, r, c, None, None, None, text
        )
        evidence = next((f for f in echoes if f.stage == "backward"), None)
        finding.cause = Cause("the parameters are not shared", 0.97, evidence.message if evidence else "")
        finding.fix = f"tie them: let {several[-1]} be the same Parameter as {several[0]}"
        found.append(finding)
    return found + kept


def lone_parameters(findings: list[Finding], reference: Trace, candidate: Trace) -> list[Finding]:
    """Parameters that get a gradient and that one side lacks; what diverges at their layers is their echo.

    Where both sides have such parameters, they may be the same in another form, and nothing is said.
    """
    pairs = (candidate.meta.mapping or {}).get("pairs", [])
    if not pairs:
        return findings
    told = {f.reference.path for f in findings if f.kind == "tied-parameter" and f.reference is not None}
    missing = _lone(reference, told | {p["reference"] for p in pairs} | {name for p in pairs for name in p["parts"]})
    extra = _lone(candidate, {p["candidate"] for p in pairs})
    if bool(missing) == bool(extra):
        return findings
    mine, theirs = Names(reference), Names(candidate)
    partner = {}
    for node in (candidate.meta.mapping or {}).get("nodes", []):
        for a, b in ((node["reference"], node["candidate"]), (node["candidate"], node["reference"])):
            partner.update({(a is node["reference"], path): b[0] for path in a})
    kept, found = list(findings), []
    lone = missing or extra
    called: dict[str, int] = {}
    for call in (reference if missing else candidate).of(CallEvent, 0):
        called.setdefault(call.path, call.id)
    for owner in sorted(lone, key=lambda path: (called.get(path, math.inf), path)):
        names = lone[owner]
        other = partner.get((bool(missing), owner), "")
        r = mine.place(owner) if missing else mine.place(other)
        c = theirs.place(other) if missing else theirs.place(owner)
        shown = ", ".join(names)
        text = (
            f"{shown} of the reference ({r.file}:{r.line}) has no counterpart in the candidate"
            if missing
            else f"{shown} of the candidate ({c.file}:{c.line}) has no counterpart in the reference"
        )
        kind = "parameter-missing" if missing else "parameter-extra"
        echoes = [f for f in kept if f.status == "introduced" and _at_layer(f, r, c, bool(missing), owner)]
        kept = [f for f in kept if f not in echoes]
        evidence = echoes[0].message if echoes else ""
        cause = Cause("a parameter that only one model has", 0.9, evidence)
        found.append(Finding(kind, "structure", "fault", "introduced", None, None, r, c, None, None, None, text, cause))
    return found + kept


def _at_layer(finding: Finding, r: Place, c: Place, missing: bool, owner: str) -> bool:
    place = finding.reference if missing else finding.candidate
    if place is None:
        return False
    other = c if missing else r
    theirs = finding.candidate if missing else finding.reference
    return place.path == owner or (bool(other.path) and theirs is not None and theirs.path == other.path)


def _lone(trace: Trace, paired: set[str]) -> dict[str, list[str]]:
    """Trainable parameters outside every pair that got a gradient other than zero, by owner."""
    moved = set()
    for event in trace.of(ParameterGradEvent):
        if event.name not in paired and event.name not in moved and np.any(trace.array(event.ref)):
            moved.add(event.name)
    found: dict[str, list[str]] = defaultdict(list)
    for parameter in trace.parameters:
        if parameter.trainable and parameter.name in moved:
            found[parameter.owner].append(parameter.name)
    return dict(found)
