"""What was declared of layers and losses that correspond: class and arguments, in one convention."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from parity import mapping
from parity.diagnose.pairing import LayerPair, layer_pairs, losses
from parity.diagnose.provenance import origin, rewritten, tidy
from parity.diagnose.stage import Context
from parity.document import Cause, Finding, Place
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
    """Findings of all pairs of layers and losses, and how many pairs were compared.

    A difference is a warning here; where the layer diverges, the joining makes a fault of it.
    """
    reference, candidate = context.reference, context.candidate
    pairs = layer_pairs(reference, candidate, lambda r, c: mapping.lookup(r, c) is not None)
    shapes = _input_shapes(reference)
    findings: list[Finding] = []
    for pair in pairs:
        findings += _compared(pair, reference, candidate, shapes.get(pair.reference.path))
    mine, theirs = losses(reference), losses(candidate)
    if len(mine) == len(theirs):
        both = [LayerPair(r, c) for r, c in zip(mine, theirs, strict=True)]
        pairs += both
        for pair in both:
            findings += _compared(pair, reference, candidate, None)
    return findings, len(pairs)


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


def _compared(pair: LayerPair, reference: Trace, candidate: Trace, shape: tuple[int, ...] | None) -> list[Finding]:
    r, c = pair
    entry = mapping.lookup(r.type, c.type, c.arguments)
    if entry is None:
        return _other_class(pair)
    findings = []
    for item in mapping.compare(entry, r.arguments, c.arguments, shape):
        if item.equal is not False:
            continue
        name, other = item.parameter.reference, item.parameter.candidate
        kind = kind_of((name, other), r.type)
        mine = _part(r, name, item.reference, reference.meta.framework)
        theirs = _part(c, _chosen(c, other), item.candidate, candidate.meta.framework)
        values = [None if v is mapping.ABSENT else tidy(v) for v in (item.reference, item.candidate)]
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
    if name is None or value is mapping.ABSENT:
        return "no such argument"
    held = layer.arguments.get(name, value)
    return f"{name}={tidy(held)!r} ({origin(layer, name, framework)})"


def _at(layer: LayerInfo) -> str:
    where = f" ({layer.file}:{layer.line})" if layer.file else ""
    return f"{layer.path or layer.type}{where}"


def _other_class(pair: LayerPair) -> list[Finding]:
    """Two library classes that the tables know, but not as counterparts of each other."""
    r, c = pair
    known = mapping.counterparts(r.type)
    if not known or not mapping.find(c.type):
        return []
    message = f"{_at(c)} is a {c.type}, where {_at(r)} is a {r.type}"
    cause = Cause(f"{c.type} is no counterpart of {r.type}", 0.9)
    names = [e.candidate for e in known if e.candidate]
    finding = Finding(
        "layer-type", "hyperparameters", "warning", "introduced", None, None, Place(r.path, r.file, r.line, r.type),
        Place(c.path, c.file, c.line, c.type), None, None, None, message, cause,
    )  # fmt: skip
    finding.fix = known[0].fix or (names[0] if names else None)
    return [finding]
