"""Train and evaluation mode of the layers for which it matters."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from parity.diagnose.counterparts import corresponding
from parity.diagnose.names import Names
from parity.diagnose.pairing import LayerPair
from parity.diagnose.stage import Claim
from parity.document import Cause, Finding
from parity.model import CallEvent, GradEvent, LayerInfo, RandomEvent
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
    pairs = corresponding(reference, candidate)
    differing = [
        (pair, first)
        for pair in pairs
        if (sensitive(pair.reference) or sensitive(pair.candidate))
        and (first := _first(*(side.get(x.path, {}) for side, x in zip(flags, pair, strict=True)))) is not None
    ]
    roots = _root(reference, flags[0]), _root(candidate, flags[1])
    step = _first(*roots)
    moody = [
        frozenset(layer.path for layer in trace.layers if sensitive(layer) and layer.path in seen)
        for trace, seen in zip((reference, candidate), flags, strict=True)
    ]
    if step is not None:
        training = roots[1][step]
        undrawn = masks(reference, step) - masks(candidate, step)
        if any(first == step for _, first in differing) or (undrawn and not training):
            return [_whole(reference, candidate, training, Claim(*moody), step)]
    moved = {pair.candidate.path for pair, _ in differing}
    agreeing = {p.candidate.path for p in pairs if sensitive(p.reference) or sensitive(p.candidate)} - moved
    groups: dict[tuple[str, int, bool], list[LayerPair]] = defaultdict(list)
    for pair, first in differing:
        training = flags[1][pair.candidate.path][first]
        groups[(_switched(pair.candidate.path, training, first, flags[1], agreeing), first, training)].append(pair)
    return [_together(together, *key) for key, together in groups.items()]


def _switched(path: str, training: bool, step: int, flags: dict[str, dict[int, bool]], agreeing: set[str]) -> str:
    """The outermost layer around a path that runs in this mode, and in which no layer has its counterpart's mode."""
    words = path.split(".")
    for outer in (".".join(words[:n]) for n in range(1, len(words))):
        inside = any(other.startswith(outer + ".") for other in agreeing)
        if flags.get(outer, {}).get(step) is training and not inside:
            return outer
    return path


def masks(trace: Trace, step: int = 0) -> Counter[int]:
    """How many dropout masks of each size a step draws."""
    return Counter(event.ref.size for event in trace.of(RandomEvent, step) if event.kind == "mask")


def sensitive(layer: LayerInfo) -> bool:
    """Whether a library layer computes something else in training than in evaluation."""
    lower = layer.type.lower()
    if not layer.framework:
        return False
    if "dropout" in lower or "batchnorm" in lower:
        return True
    return any(isinstance(rate := layer.arguments.get(name), (int, float)) and rate > 0 for name in _RATES)


def _flags(trace: Trace) -> dict[str, dict[int, bool]]:
    """Each called layer's mode in each step; left out where it is called in both.

    A script may look at its model between steps: where only some calls of a step get a gradient, these count.
    """
    learned = {event.call for event in trace.of(GradEvent)}
    found: dict[str, dict[int, tuple[set[bool], set[bool]]]] = {}
    for call in trace.of(CallEvent):
        if call.phase == "train":
            seen = found.setdefault(call.path, {}).setdefault(call.step, (set(), set()))
            seen[call.id in learned].add(call.training)
    flags: dict[str, dict[int, bool]] = {}
    for path, steps in found.items():
        flags[path] = {
            step: next(iter(modes)) for step, seen in steps.items() if len(modes := seen[True] or seen[False]) == 1
        }
    return flags


def _first(mine: dict[int, bool], theirs: dict[int, bool]) -> int | None:
    """The first step in which two modes differ."""
    return next((step for step in sorted(mine.keys() & theirs.keys()) if mine[step] != theirs[step]), None)


def _root(trace: Trace, flags: dict[str, dict[int, bool]]) -> dict[int, bool]:
    """The model's own mode in each step; nothing where it is several, of different modes."""
    found = [flags.get(layer.path, {}) for layer in trace.layers if layer.root]
    return found[0] if found and all(other == found[0] for other in found) else {}


def _whole(reference: Trace, candidate: Trace, training: bool, claim: Claim, step: int) -> Mode:
    r, c = Names(reference).place(""), Names(candidate).place("")
    r.value, c.value = word(not training), word(training)
    shown = some(sorted(claim.candidate)) or "its dropout"
    text = (
        f"the candidate trains its model in {word(training)} mode, the reference in {word(not training)} mode: "
        f"it matters to {shown}"
    )
    text = f"from step {step} on, {text}" if step else text
    finding = Finding(
        f"{word(training)}-mode", "structure", "fault", "introduced", step, "set_train", r, c, None, None, None, text
    )
    if training:
        finding.cause = Cause("the reference calls model.eval() before these steps", 0.95)
        finding.fix = "model.set_train(False)"
    else:
        why = "MindSpore cells start in evaluation mode, and set_train() was not called"
        if step:
            why = f"the candidate's model is in evaluation mode from step {step} on: set_train() was not called again"
        finding.cause = Cause(why, 0.95)
        finding.fix = "model.set_train()"
    return Mode(finding, claim)


def _together(pairs: list[LayerPair], switched: str, step: int, training: bool) -> Mode:
    """Layers whose mode differs because of one call of `set_train` that is missing, or one too many."""
    r, c = Names.of(pairs[0].reference), Names.of(pairs[0].candidate)
    r.value, c.value = word(not training), word(training)
    text = (
        f"{c.path} ({c.file}:{c.line}) runs in {word(training)} mode, {r.path} ({r.file}:{r.line}) in "
        f"{word(not training)} mode"
    )
    if len(pairs) > 1:
        text += f"; likewise {some([pair.candidate.path for pair in pairs[1:]])}"
    cause = Cause("set_train was called for this layer on one side only", 0.9)
    finding = Finding(
        f"{word(training)}-mode", "structure", "fault", "introduced", step, None, r, c, None, None, None, text, cause
    )
    finding.fix = f"{switched}.set_train({not training})"
    return Mode(finding, Claim(*(frozenset(layer.path for layer in side) for side in zip(*pairs, strict=True))))


def word(training: bool) -> str:
    """A mode as findings call it."""
    return "train" if training else "eval"
