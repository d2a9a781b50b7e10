"""What was declared of layers and losses that correspond: class and arguments, in one convention."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from parity.diagnose.counterparts import Counterparts
from parity.diagnose.pairing import LayerPair, layer_pairs, losses
from parity.diagnose.provenance import origin, rewritten, tidy
from parity.diagnose.stage import Context
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

_UNSEEN = frozenset(["dropout-rate"])
"""Kinds that change what is computed even where this run's values agree: masks are given, and no rate is drawn."""


def compared_layers(context: Context) -> tuple[list[Finding], int]:
    """Findings of all pairs of layers, and how many pairs were compared.

    A difference is a warning here; where the layer diverges, the joining makes a fault of it.
    """
    counterparts = Counterparts(context.reference, context.candidate)
    pairs = layer_pairs(context.reference, context.candidate, counterparts.known)
    shapes = _input_shapes(context.reference)
    found = [_compared(pair, counterparts, context, shapes.get(pair.reference.path)) for pair in pairs]
    return [finding for findings in found for finding in findings], len(pairs)


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
        mine = _part(r, name, item.reference, context.reference.meta.framework)
        theirs = _part(c, _chosen(c, other), item.candidate, context.candidate.meta.framework)
        values = [None if v is ABSENT else tidy(v) for v in (item.reference, item.candidate)]
        message = f"{_at(c)}: {theirs}, where {_at(r)} has {mine}"
        cause = Cause(f"{kind.replace('-', ' ')}: {theirs}; the reference's {r.type} has {mine}", 0.95)
        finding = Finding(
            kind, "hyperparameters", "fault" if kind in _UNSEEN else "warning", "introduced", None, None,
            Place(r.path, r.file, r.line, values[0]), Place(c.path, c.file, c.line, values[1]),
            None, None, None, message, cause,
        )  # fmt: skip
        if item.fix is not None:
            finding.fix = rewritten(c.code, list(c.arguments), item.fix)
        findings.append(finding)
    return findings


def _chosen(layer: LayerInfo, name: str | None) -> str | None:
    """The argument that decided: of dropout's two rates the one that was given."""
    if name == "p" and "p" not in layer.given and "keep_prob" in layer.arguments:
        return "keep_prob"
    if name == "padding" and "pad_mode" in layer.arguments:
        return "pad_mode" if layer.arguments["pad_mode"] != "pad" else "padding"
    return name


def _part(layer: LayerInfo, name: str | None, value: Any, framework: str) -> str:
    if name is None or value is ABSENT:
        return "no such argument"
    held = layer.arguments.get(name, value)
    return f"{name}={tidy(held)!r} ({origin(layer, name, framework)})"


def _at(layer: LayerInfo) -> str:
    where = f" ({layer.file}:{layer.line})" if layer.file else ""
    return f"{layer.path or layer.type}{where}"


def _other_class(pair: LayerPair, others: list[str]) -> list[Finding]:
    """Two library classes that are known, but not as counterparts of each other."""
    r, c = pair
    if not others:
        return []
    message = f"{_at(c)} is a {c.type}, where {_at(r)} is a {r.type}"
    cause = Cause(f"{c.type} is no counterpart of {r.type}", 0.9)
    finding = Finding(
        "layer-type", "hyperparameters", "warning", "introduced", None, None, Place(r.path, r.file, r.line, r.type),
        Place(c.path, c.file, c.line, c.type), None, None, None, message, cause,
    )  # fmt: skip
    finding.fix = others[0]
    return [finding]
