"""Train and evaluation mode where the scripts evaluate their model: before, between and after training steps."""

from __future__ import annotations

from collections import defaultdict

from parity.diagnose.stage import HINT, Claim
from parity.diagnose.tree.modes import Mode, sensitive
from parity.document import Cause, Finding, Place
from parity.model import CallEvent, EvaluationEvent
from parity.trace import Trace
from parity.words import some


def evaluated(reference: Trace, candidate: Trace) -> list[Mode]:
    """A model that one side evaluates in train mode and the other in evaluation mode, after equally many steps.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.

    Returns:
        One finding at most, a fault where the candidate clearly evaluates in train mode. What may be something else
        (a look at the model's output before the first step, another number of calls) is a warning, and a candidate in
        evaluation mode, which is how cells start, a hint: what diverges by them will show. Of evaluations that are
        not reached, the scripts' text tells.
    """
    mine, theirs = _between(reference), _between(candidate)
    moody = [_moody(trace) for trace in (reference, candidate)]
    if not any(moody):
        return []
    for step in sorted(mine.keys() & theirs.keys()):
        modes = [{event.training for event in side[step]} for side in (mine, theirs)]
        if len(modes[0]) == len(modes[1]) == 1 and modes[0] != modes[1]:
            return [_differs(mine[step], theirs[step], moody)]
    return _never_left(reference, candidate, moody[1])


def _never_left(reference: Trace, candidate: Trace, moody: frozenset[str]) -> list[Mode]:
    """A candidate whose text never leaves train mode, where the reference's does: it shows after the captured steps."""
    mine, theirs = (trace.meta.environment.get("modes") or {} for trace in (reference, candidate))
    if "eval" not in mine or "eval" in theirs or "train" not in theirs or not moody:
        return []
    r, c = (Place("", side[kind][0], side[kind][1], kind) for side, kind in ((mine, "eval"), (theirs, "train")))
    text = (
        f"the candidate puts its model into train mode ({c.file}:{c.line}) and never into evaluation mode, as the "
        f"reference does ({r.file}:{r.line}): what it evaluates after these steps, it evaluates with active "
        f"{some(sorted(moody))}"
    )
    finding = Finding(
        "train-mode", "structure", "warning", None, None, "set_train", r, c, None, None, None, text,
        Cause("set_train(False) is not called before the candidate evaluates its model", 0.5),
    )  # fmt: skip
    finding.fix = "model.set_train(False)"
    return [Mode(finding, Claim())]


def _between(trace: Trace) -> dict[int, list[EvaluationEvent]]:
    """Calls of the model outside of training steps, by the number of steps that were done before.

    A call that keeps what a gradient would need looks like one of the step that follows; in evaluation mode, where the
    step has calls in train mode too, it is none.
    """
    found: dict[int, list[EvaluationEvent]] = defaultdict(list)
    for event in trace.of(EvaluationEvent):
        found[event.step].append(event)
    roots = {layer.id: layer for layer in trace.layers if layer.root}
    for step in range(trace.meta.steps):
        calls = [call for call in trace.of(CallEvent, step) if call.layer in roots]
        if {call.training for call in calls} == {True, False}:
            quiet = [call for call in calls if not call.training]
            root = roots[quiet[0].layer]
            found[step].append(EvaluationEvent(step, root.path, False, len(quiet), root.file, root.line))
    return found


def _moody(trace: Trace) -> frozenset[str]:
    return frozenset(layer.path for layer in trace.layers if sensitive(layer))


def _differs(mine: list[EvaluationEvent], theirs: list[EvaluationEvent], moody: list[frozenset[str]]) -> Mode:
    training = theirs[0].training
    step = theirs[0].step
    words = ("eval", "train") if training else ("train", "eval")
    r, c = (Place(s[0].path, s[0].file, s[0].line, word) for s, word in zip((mine, theirs), words, strict=True))
    shown = some(sorted(moody[1])) or "its dropout"
    when = f"after {step} steps" if step else "before the first step"
    text = (
        f"the candidate evaluates its model in {words[1]} mode ({c.file}:{c.line}), the reference in {words[0]} mode "
        f"({r.file}:{r.line}), {when}: it matters to {shown}"
    )
    calls = [sum(event.calls for event in side) for side in (mine, theirs)]
    sure = calls[0] == calls[1] and (step > 0 or calls[0] > 1)
    severity = HINT if not training else "fault" if sure else "warning"
    finding = Finding(
        f"{words[1]}-mode", "structure", severity, "introduced", step, "set_train", r, c, None, None, None, text
    )
    if training:
        finding.cause = Cause("set_train(False) is not called before the candidate evaluates its model", 0.95)
        finding.fix = "model.set_train(False)"
    else:
        finding.cause = Cause("the reference does not call model.eval() before it evaluates its model", 0.9)
        finding.fix = "model.set_train()"
    return Mode(finding, Claim(*moody))
