"""What was declared of the optimizers: settings of each parameter, in one convention."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from parity.diagnose.counterparts import Counterparts
from parity.diagnose.hyper.provenance import configurations, origin, rewritten, shown, tidy
from parity.diagnose.hyper.rates import compared_rates
from parity.diagnose.hyper.settings import Setting, Side, at, declared, paired_parameters
from parity.diagnose.stage import Context
from parity.document import Cause, Finding
from parity.mapping import Compared
from parity.model import ObjectInfo
from parity.tolerance import FACTOR
from parity.words import some

_LATER = frozenset(["amsgrad", "use_amsgrad"])
"""Settings that need not show in the first steps."""

_KINDS = {
    "momentum": "momentum", "nesterov": "nesterov", "use_nesterov": "nesterov", "dampening": "dampening",
    "betas": "betas", "amsgrad": "amsgrad", "use_amsgrad": "amsgrad",
}  # fmt: skip
_OWN = frozenset(["params", "lr", "learning_rate", "weight_decay", "loss_scale"])
"""What is compared apart from the tables, or means nothing on the other side."""


def compared_optimizers(context: Context) -> tuple[list[Finding], int]:
    """Findings of all parameters that both sides optimize, and how many these are."""
    mine, theirs = Side(context.reference), Side(context.candidate)
    pairs = paired_parameters(context.candidate)
    both = [(r, c) for r, c in pairs if r in mine.steps[0] and c in theirs.steps[0]]
    findings = compared_rates(context, mine, theirs, both)
    findings += _decays(context, mine, theirs, both)
    findings += _settings(context, mine, theirs, both)
    return findings, len(both)


def _decays(context: Context, mine: Side, theirs: Side, pairs: list[tuple[str, str]]) -> list[Finding]:
    """Weight decay, parameter by parameter: groups, and parameters that are left out by their names."""
    differing: dict[tuple[int, int], list[tuple[str, str, float, float]]] = defaultdict(list)
    for r, c in pairs:
        one, other = mine.steps[0][r], theirs.steps[0][c]
        a, b = one.group.get("weight_decay"), other.group.get("weight_decay")
        if isinstance(a, (int, float)) and isinstance(b, (int, float)) and abs(a - b) > 1e-5 * max(abs(a), abs(b)):
            differing[(one.event.index, other.event.index)].append((r, c, float(a), float(b)))
    findings = []
    for items in differing.values():
        r, c, a, b = items[0]
        one, other = mine.steps[0][r], theirs.steps[0][c]
        places = mine.place(one.event, tidy(a)), theirs.place(other.event, tidy(b))
        info = theirs.info(other.event)
        skipped = [i for i in items if theirs.steps[0][i[1]].group.get("decay_skipped")]
        names = some([i[1] for i in items])
        total = len(pairs)
        message = (
            f"{at(places[1])} decays {names} by {shown(b)}, where {at(places[0])} has weight_decay={shown(a)}: "
            f"{len(items)} of {total} parameters"
        )
        cause = Cause("weight decay differs", 0.95)
        finding = declared("weight-decay", places, message, cause)
        if skipped and len(skipped) == len(items):
            cause.text = (
                f"nn.{other.event.class_name} without parameter groups applies no weight decay to parameters whose "
                "name contains beta or gamma; PyTorch decays every parameter"
            )
            given = info.arguments.get("weight_decay", a) if info else a
            finding.fix = _grouped(info, shown(given))
        elif info is not None and len(items) == total:
            finding.fix = rewritten(info.code, list(info.arguments), f"weight_decay={shown(a)}")
        else:
            finding.fix = f'"weight_decay": {shown(a)} in the parameter group of {some([i[1] for i in items])}'
        if _hidden_decay(context, items, one):
            finding.severity, finding.status = "warning", None
            finding.message += "; the updates agree nevertheless"
        findings.append(finding)
    return findings


def _grouped(info: ObjectInfo | None, decay: str) -> str:
    """The optimizer's call with all parameters in one explicit group, which is decayed whole."""
    from ast import Call, parse, unparse

    group = '[{"params": net.trainable_params(), "weight_decay": %s}]'
    if info is None or info.code is None:
        return group % decay
    call = parse(info.code, mode="eval").body
    if not isinstance(call, Call) or not call.args:
        return group % decay
    call.args[0] = parse(f'[{{"params": {unparse(call.args[0])}, "weight_decay": {decay}}}]', mode="eval").body
    call.keywords = [k for k in call.keywords if k.arg != "weight_decay"]
    return unparse(call)


def _hidden_decay(context: Context, items: list[tuple[str, str, float, float]], setting: Setting) -> bool:
    """Whether updates of a step agree although this difference must show in them: the script decays in another way."""
    rate = float(setting.group.get("lr") or 0.0)
    differing = {r: abs(a - b) for r, _, a, b in items}
    seen: dict[int, int] = defaultdict(int)
    wrong = set()
    for item in context.judged:
        record = item.record
        if record.kind == "parameter" and record.path in differing:
            seen[record.step] += rate * differing[record.path] * record.scale > 4 * FACTOR * item.floor
            if item.flagged:
                wrong.add(record.step)
    return any(count and step not in wrong for step, count in seen.items())


def _settings(context: Context, mine: Side, theirs: Side, pairs: list[tuple[str, str]]) -> list[Finding]:
    """All other settings, through the table of the two classes."""
    counterparts = Counterparts(context.reference, context.candidate)
    found: dict[tuple[int, int, str], tuple[Setting, Setting, Compared, list[str]]] = {}
    for r, c in pairs:
        one, other = mine.steps[0][r], theirs.steps[0][c]
        for item in _compared(counterparts, mine, theirs, one, other):
            kind = _kind(item)
            key = (one.event.index, other.event.index, kind)
            found.setdefault(key, (one, other, item, []))[3].append(c)
    findings = []
    for (_, _, kind), (one, other, item, names) in found.items():
        reference, candidate = item.parameter.reference, item.parameter.candidate
        a, b = tidy(item.reference), tidy(item.candidate)
        if reference == "betas" and isinstance(a, list):
            a = a[0] if candidate == "beta1" else a[1] if candidate == "beta2" else a
        places = mine.place(one.event, a), theirs.place(other.event, b)
        parts = [
            _said(side, setting, name, value)
            for side, setting, name, value in ((mine, one, reference, a), (theirs, other, candidate, b))
        ]
        of = "" if len(names) == len(pairs) else f" for {len(names)} of {len(pairs)} parameters"
        message = f"{at(places[1])}: {parts[1]}, where {at(places[0])} has {parts[0]}{of}"
        finding = declared(kind, places, message, Cause(f"{kind.replace('-', ' ')} differs", 0.9))
        finding.severity = "fault" if reference in _LATER else "warning"
        info = theirs.info(other.event)
        if item.fix is not None:
            finding.fix = rewritten(info.code, list(info.arguments), item.fix) if info else item.fix
        findings.append(finding)
    return findings


def _compared(counterparts: Counterparts, mine: Side, theirs: Side, one: Setting, other: Setting) -> list[Compared]:
    made = mine.info(one.event), theirs.info(other.event)
    names = [info.type if info else event.class_name for info, event in
             zip(made, (one.event, other.event), strict=True)]  # fmt: skip
    first = {**(made[0].arguments if made[0] else {}), **one.group}
    second = {**(made[1].arguments if made[1] else {}), **other.group}
    return [
        item for item in counterparts.compare(names[0], names[1], first, second)
        if not item.missing and item.parameter.reference not in _OWN
        and item.parameter.candidate not in _OWN and None not in (item.parameter.reference, item.parameter.candidate)
    ]  # fmt: skip


def _kind(item: Compared) -> str:
    names = item.parameter.reference, item.parameter.candidate
    for name in names:
        if name in _KINDS:
            return _KINDS[name]
    if "eps" in str(names[0]):
        return "optimizer-eps"
    return str(names[0]).replace("_", "-")


def _said(side: Side, setting: Setting, name: str | None, value: Any) -> str:
    info = side.info(setting.event)
    if name is None:
        return "no such argument"
    said = origin(info, name, side.trace.meta.framework, configurations(side.trace)) if info is not None else ""
    made = f" ({said})" if said else ""
    return f"{name}={shown(value)}{made}"
