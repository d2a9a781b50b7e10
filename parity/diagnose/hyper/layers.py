"""What was declared of layers and losses that correspond: class and arguments, in one convention."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from parity.diagnose.counterparts import Counterparts
from parity.diagnose.hyper.nested import place_inside
from parity.diagnose.hyper.provenance import configurations, origin, rewritten, tidy
from parity.diagnose.hyper.settings import paired_parameters
from parity.diagnose.pairing import LayerPair, kind_of_layer, layer_pairs, losses
from parity.diagnose.stage import HINT, Context
from parity.document import Cause, Finding, Place
from parity.mapping import ABSENT
from parity.model import CallEvent, LayerInfo
from parity.trace import Trace

_KINDS = {
    "p": "dropout-rate", "dropout": "dropout-rate", "keep_prob": "dropout-rate", "approximate": "gelu-approximate",
    "padding": "padding", "pad_mode": "padding", "bias": "bias", "has_bias": "bias",
    "negative_slope": "negative-slope", "alpha": "negative-slope", "output_padding": "padding",
}  # fmt: skip
"""What a difference is called, by the parameter's name on either side; else the name itself."""

_SHAPES = frozenset(
    [
        "kernel-size", "in-channels", "out-channels", "groups", "in-features", "out-features", "num-features",
        "num-embeddings", "embedding-dim", "input-size", "hidden-size", "num-layers", "bidirectional",
    ]
)  # fmt: skip
"""Kinds that give parameters another shape."""


def compared_layers(context: Context) -> tuple[list[Finding], int]:
    """Findings of all pairs of layers, and how many pairs were compared.

    A difference is a warning here; where the layer diverges, the joining makes a fault of it.
    """
    counterparts = Counterparts(context.reference, context.candidate)
    pairs = layer_pairs(context.reference, context.candidate, counterparts.known)
    shapes = _input_shapes(context.reference), _input_shapes(context.candidate)
    apart = _apart(pairs, context)
    findings: list[Finding] = []
    for pair in pairs:
        mine, theirs = shapes[0].get(pair.reference.path), shapes[1].get(pair.candidate.path)
        padded_before = mine is not None and theirs is not None and sorted(mine) != sorted(theirs)
        found = _compared(pair, counterparts, context, mine)
        found = [f for f in found if f.kind != "padding" or not padded_before]
        findings += _reshaped(found) if pair in apart else found
    for finding in findings:
        if finding.kind == "norm-momentum":
            _by_statistics(finding, context)
    return findings, len(pairs)


def _apart(pairs: list[LayerPair], context: Context) -> list[LayerPair]:
    """Pairs of layers with parameters of which none fits the other's."""
    owners = [{p.owner for p in trace.parameters if p.trainable} for trace in (context.reference, context.candidate)]
    owned = {p.name: p.owner for trace in (context.reference, context.candidate) for p in trace.parameters}
    both = {(owned.get(r), owned.get(c)) for r, c in paired_parameters(context.candidate)}
    return [
        pair for pair in pairs
        if pair.reference.path in owners[0] and pair.candidate.path in owners[1]
        and (pair.reference.path, pair.candidate.path) not in both
    ]  # fmt: skip


def _reshaped(findings: list[Finding]) -> list[Finding]:
    """Of layers whose parameters do not fit each other, the differences that make their shapes: faults."""
    found = [finding for finding in findings if finding.kind in _SHAPES]
    for finding in found:
        finding.severity = "fault"
    return found


def _by_statistics(finding: Finding, context: Context) -> None:
    """A momentum is a fault where the running statistics diverge."""
    place = finding.reference
    owned = {name: p.owner for p in context.reference.parameters for name in p.names}
    wrong = [
        j for j in context.judged
        if j.record.kind == "buffer" and j.flagged and place is not None and owned.get(j.record.path) == place.path
    ]  # fmt: skip
    if wrong:
        worst = max(wrong, key=lambda j: j.ratio)
        finding.severity, finding.step = "fault", worst.record.step
        finding.error, finding.floor = worst.relative
        finding.ratio = worst.ratio if worst.ratio != float("inf") else None


def compared_losses(context: Context) -> tuple[list[Finding], int]:
    """The same for the library's loss layers, which stand outside the model."""
    counterparts = Counterparts(context.reference, context.candidate)
    mine, theirs = losses(context.reference), losses(context.candidate)
    if len(mine) != len(theirs):
        return [], 0
    found = [_compared(LayerPair(r, c), counterparts, context, None) for r, c in zip(mine, theirs, strict=True)]
    return [finding for findings in found for finding in findings], len(mine)


def kind_of(names: Sequence[str | None], type_name: str) -> str:
    """The slug of a difference in a parameter, by its names on both sides and the layer's class."""
    norm = "norm" in type_name.lower()
    for name in filter(None, names):
        if norm and name in ("eps", "epsilon", "momentum"):
            return "norm-momentum" if name == "momentum" else "norm-eps"
        if name in _KINDS and not (norm and name == "alpha"):
            return _KINDS[name]
    first = next(filter(None, names), "argument")
    return re.sub(r"(?<=[a-z])_+", "-", first).lower()


def _input_shapes(trace: Trace) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for call in trace.of(CallEvent, 0):
        if call.inputs:
            found.setdefault(call.path, call.inputs[0].ref.shape)
    return found


def _compared(
    pair: LayerPair, counterparts: Counterparts, context: Context, shape: tuple[int, ...] | None
) -> list[Finding]:
    r, c = pair
    if not counterparts.known(r.type, c.type):
        return _other_class(pair, counterparts.others(r.type, c.type))
    findings = []
    for item in counterparts.compare(r.type, c.type, r.arguments, c.arguments, shape):
        name, other = item.parameter.reference, item.parameter.candidate
        kind = kind_of((name, other), r.type)
        mine = _part(r, name, item.reference, context.reference)
        theirs = _part(c, _chosen(c, other), item.candidate, context.candidate)
        values = [None if v is ABSENT else tidy(v) for v in (item.reference, item.candidate)]
        if _chosen(c, other) == "keep_prob":
            values[1] = tidy(round(1 - c.arguments["keep_prob"], 12))
            theirs += f", which drops {values[1]}"
        elif item.parameter.transform == "one_minus" and isinstance(values[1], float):
            theirs += f", which PyTorch calls {tidy(round(1 - values[1], 12))}"
        message = f"{_at(c)}: {theirs}, where {_at(r)} has {mine}" + place_inside(other, item.reference, item.candidate)
        cause = Cause(f"{kind.replace('-', ' ')}: {theirs}; the reference's {r.type} has {mine}", 0.95)
        finding = Finding(
            kind, "hyperparameters", _severity(kind, item.missing, r.type), "introduced", None, None,
            Place(r.path, r.file, r.line, values[0]), Place(c.path, c.file, c.line, values[1]),
            None, None, None, message, cause,
        )  # fmt: skip
        if item.fix is not None:
            finding.fix = rewritten(c.code, list(c.arguments), item.fix)
        findings.append(finding)
    return findings


def _severity(kind: str, one_sided: bool, type_name: str) -> str:
    """How a difference weighs where nothing diverges.

    What only one side has, and how a loss is reduced, may be made up for by code around the layer. A rate inside an
    attention or a recurrent layer draws no mask that could be given to both sides.
    """
    if one_sided or kind == "reduction":
        return HINT
    return "fault" if kind == "dropout-rate" and not type_name.startswith("Dropout") else "warning"


def _chosen(layer: LayerInfo, name: str | None) -> str | None:
    """The argument that decided: of dropout's two rates the one that was given."""
    if name == "p" and "p" not in layer.given and "keep_prob" in layer.arguments:
        return "keep_prob"
    if name == "padding" and "pad_mode" in layer.arguments:
        return "pad_mode" if layer.arguments["pad_mode"] != "pad" else "padding"
    return name


def _part(layer: LayerInfo, name: str | None, value: Any, trace: Trace) -> str:
    if name is None or value is ABSENT:
        return "no such argument"
    held = layer.arguments.get(name, value)
    return f"{name}={tidy(held)!r} ({origin(layer, name, trace.meta.framework, configurations(trace))})"


def _at(layer: LayerInfo) -> str:
    where = f" ({layer.file}:{layer.line})" if layer.file else ""
    return f"{layer.path or layer.type}{where}"


def _other_class(pair: LayerPair, others: list[str]) -> list[Finding]:
    """Two library classes that are known, but not as counterparts of each other."""
    r, c = pair
    kinds = kind_of_layer(r.type), kind_of_layer(c.type)
    if not others or kinds[0] != kinds[1] or kinds[0] not in ("activation", "pooling", "normalisation"):
        return []
    message = f"{_at(c)} is a {c.type}, where {_at(r)} is a {r.type}"
    cause = Cause(f"{c.type} is no counterpart of {r.type}", 0.9)
    finding = Finding(
        "layer-type", "hyperparameters", HINT, "introduced", None, None, Place(r.path, r.file, r.line, r.type),
        Place(c.path, c.file, c.line, c.type), None, None, None, message, cause,
    )  # fmt: skip
    finding.fix = others[0]
    return [finding]
