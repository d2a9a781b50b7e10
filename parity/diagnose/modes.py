"""Train and evaluation mode of the layers for which it matters."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from parity.diagnose.counterparts import Counterparts
from parity.diagnose.names import Names
from parity.diagnose.pairing import LayerPair, layer_pairs
from parity.diagnose.stage import Claim
from parity.document import Cause, Finding
from parity.model import CallEvent, LayerInfo, RandomEvent
from parity.trace import Trace
from parity.words import some

_RATES = ("dropout", "dropout_rate", "drop_prob", "attn_drop", "hidden_dropout_rate", "attention_dropout_rate")


class Mode(NamedTuple):
    """A difference in mode, and the layers whose divergence it explains."""

    finding: Finding
    claim: Claim


def modes(reference: Trace, candidate: Trace) -> list[Mode]:
    """Layers with another mode than their counterparts; one finding where the whole model has it."""
    flags = _flags(reference), _flags(candidate)
    pairs = layer_pairs(reference, candidate, Counterparts(reference, candidate).known)
    differing = [
        p for p in pairs
        if (sensitive(p.reference) or sensitive(p.candidate))
        and None not in (both := (flags[0].get(p.reference.path), flags[1].get(p.candidate.path)))
        and both[0] != both[1]
    ]  # fmt: skip
    roots = _root(reference), _root(candidate)
    moody = [
        frozenset(layer.path for layer in trace.layers if sensitive(layer) and layer.path in seen)
        for trace, seen in zip((reference, candidate), flags, strict=True)
    ]
    undrawn = masks(reference) - masks(candidate)
    if None not in roots and roots[0] != roots[1] and (differing or (undrawn and not roots[1])):
        return [_whole(reference, candidate, bool(roots[1]), Claim(*moody))]
    return [_one(pair, bool(flags[1][pair.candidate.path])) for pair in differing]


def masks(trace: Trace) -> Counter[int]:
    """How many dropout masks of each size the first step draws."""
    return Counter(event.ref.size for event in trace.of(RandomEvent, 0) if event.kind == "mask")


def sensitive(layer: LayerInfo) -> bool:
    """Whether a library layer computes something else in training than in evaluation."""
    lower = layer.type.lower()
    if not layer.framework:
        return False
    if "dropout" in lower or "batchnorm" in lower:
        return True
    return any(isinstance(rate := layer.arguments.get(name), (int, float)) and rate > 0 for name in _RATES)


def _flags(trace: Trace) -> dict[str, bool | None]:
    """Each called layer's mode, None where it is called in both: a script may look at its model between steps."""
    found: dict[str, bool | None] = {}
    for call in trace.of(CallEvent):
        found[call.path] = call.training if found.get(call.path, call.training) == call.training else None
    return found


def _root(trace: Trace) -> bool | None:
    roots = {layer.id for layer in trace.layers if layer.root}
    found = {call.training for call in trace.of(CallEvent) if call.layer in roots}
    return found.pop() if len(found) == 1 else None


def _whole(reference: Trace, candidate: Trace, training: bool, claim: Claim) -> Mode:
    r, c = Names(reference).place(""), Names(candidate).place("")
    r.value, c.value = _word(not training), _word(training)
    shown = some(sorted(claim.candidate)) or "its dropout"
    text = (
        f"the candidate trains its model in {_word(training)} mode, the reference in {_word(not training)} mode: "
        f"it matters to {shown}"
    )
    finding = Finding(
        f"{_word(training)}-mode", "structure", "fault", "introduced", 0, "set_train", r, c, None, None, None, text
    )
    if training:
        finding.cause = Cause("the reference calls model.eval() before these steps", 0.95)
        finding.fix = "model.set_train(False)"
    else:
        finding.cause = Cause("MindSpore cells start in evaluation mode, and set_train() was not called", 0.95)
        finding.fix = "model.set_train()"
    return Mode(finding, claim)


def _one(pair: LayerPair, training: bool) -> Mode:
    r, c = Names.of(pair.reference), Names.of(pair.candidate)
    r.value, c.value = _word(not training), _word(training)
    text = (
        f"{c.path} ({c.file}:{c.line}) runs in {_word(training)} mode, {r.path} ({r.file}:{r.line}) in "
        f"{_word(not training)} mode"
    )
    cause = Cause("set_train was called for this layer on one side only", 0.9)
    finding = Finding(
        f"{_word(training)}-mode", "structure", "fault", "introduced", 0, None, r, c, None, None, None, text, cause
    )
    finding.fix = f"{c.path}.set_train({not training})"
    return Mode(finding, Claim(frozenset([r.path]), frozenset([c.path])))


def _word(training: bool) -> str:
    return "train" if training else "eval"
