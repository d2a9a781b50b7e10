"""Flagged places become findings: one for each fault, at the place where it is born, with the rest as evidence."""

from __future__ import annotations

from parity.compare.faults import Judged
from parity.diagnose.bent import Bent
from parity.diagnose.companions import companions
from parity.diagnose.graph import CandidateOp, Flow, common, limit_of
from parity.diagnose.lone_ops import name_lone_op
from parity.diagnose.metrics import explain_evaluation, statistics
from parity.diagnose.names import Names
from parity.diagnose.names import at as _at
from parity.diagnose.names import numbers as _numbers
from parity.diagnose.names import shape_of as _shape
from parity.diagnose.optimization.averages import averages
from parity.diagnose.optimization.gradients import name_scaled_losses
from parity.diagnose.optimization.optimizer import optimizer_findings
from parity.diagnose.padding_rows import name_padding
from parity.diagnose.structure import lone_parameters, untied
from parity.diagnose.tree.tying import tied_alone
from parity.document import Cause, Finding, Place
from parity.measured import Forced, ForcedOp, Measured
from parity.model import EVALUATION, OpEvent
from parity.tolerance import FACTOR
from parity.trace import Trace

_FORWARD = ("input", "output", "root", "loss")


def findings_of(
    judged: list[Judged], forced: Forced, reference: Trace, candidate: Trace, behind: dict[int, set[str]] | None = None
) -> list[Finding]:
    """All findings of a forced run.

    Args:
        judged: Every measured place.
        forced: The forced run.
        reference: The reference's trace.
        candidate: The candidate's trace.
        behind: Takes for findings, by `id`, the library layers of the reference that a diverging gradient came through.
    """
    behind = {} if behind is None else behind
    flow = Flow(forced, candidate)
    mine, theirs = Names(reference), Names(candidate)
    found: dict[object, Finding] = {}
    flagged = [j for j in judged if j.flagged]
    forward = [j for j in flagged if j.record.kind in _FORWARD]
    culprits: dict[int, object] = {}
    bent = Bent(flow, reference)
    for item in forward:
        if bent.inherits(item.record):
            _merge(found, ("bent", item.record.path), _inherited(item, mine, theirs))
            continue
        if flow.crossed(item, culprits) or flow.loses_digits(item):
            continue
        key, finding = _forward(item, flow, mine, theirs, bent)
        if isinstance(key, tuple) and key[0] == "op":
            culprits.setdefault(key[-1], key)
            key = key[:-1]
        _merge(found, key, finding)
        if found[key] is finding and item.record.kind != "loss":
            ops, _ = flow.behind(item.record.tag)
            behind[id(finding)] = {op.path for op in ops if mine.leaf(op.path)}
    for item in flagged:
        backward = item.record.kind in ("gradient", "parameter-gradient")
        if backward and not bent.enters(item.record) and not _explained(item, forward, flow, mine):
            key, finding = _backward(item, flow, mine, theirs)
            if not any(_same_place(finding, other) for other in found.values()):
                _merge(found, key, finding)
            if found.get(key) is finding:
                passed = flow.ahead(flow.put_in(item.record))
                behind[id(finding)] = {op.path for op in passed if mine.leaf(op.path)}
    findings = untied(list(found.values()), reference, candidate)
    findings = tied_alone(findings, reference, candidate)
    findings = lone_parameters(findings, reference, candidate)
    name_scaled_losses(findings, judged, candidate)
    name_padding(findings, reference, candidate)
    findings += optimizer_findings(judged, reference, candidate)
    beside, echoes = companions(judged, findings, reference, candidate)
    findings = [f for f in findings if f not in echoes] + beside
    if not any(f.stage == "optimizer" for f in beside):
        findings += averages(reference, candidate)
    findings += statistics(judged, findings, mine, theirs)
    return findings + _propagated(judged, findings, mine, theirs)


def _inherited(item: Judged, mine: Names, theirs: Names) -> Finding:
    """A place that differs because a tensor of another shape came to it."""
    record = item.record
    r, c = mine.place(record.path), theirs.place(record.candidate)
    message = f"{_at(c)} inherits another shape from what comes before it, {_when(record.step)}: {_numbers(item)}"
    finding = _finding(item, "metrics" if record.stage == "metrics" else "forward", None, r, c, message)
    finding.severity, finding.status = "note", "propagated"
    return finding


def _same_place(finding: Finding, other: Finding) -> bool:
    """Whether a backward difference belongs to a forward one that an earlier step showed in the same layer, or to one
    of the same op, which may show later than its gradient: a loss at equal logits does not tell how it is smoothed.
    """
    mine, theirs = finding.reference, other.reference
    if mine is None or theirs is None:
        return False
    if finding.op is not None and (finding.op, mine.file, mine.line) == (other.op, theirs.file, theirs.line):
        return other.stage in ("forward", "loss")
    return other.stage == "forward" and theirs.path == mine.path != ""


def _merge(found: dict[object, Finding], key: object, finding: Finding) -> None:
    if key not in found:
        found[key] = finding


def _finding(
    item: Judged, stage: str, op: str | None, r: Place, c: Place, message: str, kind: str = "unexplained"
) -> Finding:
    error, noise, finite = _sizes(item)
    return Finding(
        item.record.mismatch or kind,
        stage,
        "fault",
        "introduced",
        item.record.step if item.record.step != EVALUATION else None,
        op,
        r,
        c,
        error,
        noise,
        finite,
        message,
    )


def _sizes(item: Judged) -> tuple[float | None, float | None, float | None]:
    """Relative error, floor and their ratio as far as there are any."""
    if item.record.mismatch == "shape":
        return None, None, None
    return *item.relative, item.ratio if item.ratio != float("inf") else None


def _forward(item: Judged, flow: Flow, mine: Names, theirs: Names, bent: Bent) -> tuple[object, Finding]:
    key, finding = _forward_place(item, flow, mine, theirs, bent)
    if finding.stage == "metrics":
        layer = finding.candidate.path if finding.candidate is not None else ""
        explain_evaluation(finding, theirs.type(layer), finding.op)
    half = flow.half(item.record)
    if half is not None and finding.kind == "unexplained" and item.record.error < 64 * 2.0**-11 * item.record.scale:
        finding.kind = "precision"
        finding.cause = Cause(f"computed in {half}, where the reference computes in float32", 0.9)
    return key, finding


def _forward_place(item: Judged, flow: Flow, mine: Names, theirs: Names, bent: Bent) -> tuple[object, Finding]:
    record = item.record
    stage = "metrics" if record.stage == "metrics" else "loss" if record.kind == "loss" else "forward"
    layer = record.kind == "output" and mine.leaf(record.path) and theirs.leaf(record.candidate)
    if layer and not bent.fed_otherwise(record):
        r, c = mine.place(record.path), theirs.place(record.candidate)
        message = f"{_at(c)} diverges from {_at(r)}, {stage}, {_when(record.step)}: {_numbers(item)}"
        names = mine.type(record.path), theirs.type(record.candidate)
        finding = _finding(item, stage, None, r, c, message)
        finding.cause = Cause(
            _about_layer(item, names), 0.3, f"{names[0]} against {names[1]}, fed the same input and weights"
        )
        return ("layer", record.path, record.candidate), finding
    limit = limit_of(item)
    ops = flow.reference_piece(record, limit)
    op = ops[0] if ops else None
    others = flow.candidate_piece(record, limit)
    other = others[0] if others else None
    r = Place(op.path, op.file, op.line) if op else _around(record.path, record.kind, mine)
    c = Place(other.path, other.file, other.line) if other else Place(flow.enclosing(record))
    if other is None:
        c.file, c.line = flow.nearest_line(record, c.path)
        if c.file is None:
            c = theirs.place(c.path)
    elif op is not None and not mine.leaf(op.path) and theirs.leaf(other.path):
        c.path = other.path.rpartition(".")[0]
    if stage == "loss" and op is not None and _holds(op.path, mine):
        stage = "forward"  # no boundary of the model lies between it and the loss
    name = op.name if op else other.name if other else None
    how = f"{stage}, {_when(record.step)}: {_numbers(item)}"
    finding = _finding(item, stage, name, r, c, f"{_at(c)} diverges from {_at(r)}, {how}")
    finding.cause = Cause(_about_piece(op, others), 0.4, _evidence(record.kind, record.path, record.candidate, item))
    if record.mismatch in ("", "shape") and (
        does := name_lone_op(finding, record, ops, flow.candidate_piece(record, limit, moved=False), flow, mine)
    ):
        finding.message = f"{_at(finding.candidate or c)} {does} {_at(r)}, {how}"
    key: object = ("op", op.path, op.name, op.line, op.id) if op else ("candidate", c.path, c.line, name)
    return key, finding


def _holds(path: str, names: Names) -> bool:
    """Whether a layer of the model, other than the model itself, holds parameters."""
    return bool(path) and any(f"{owner}.".startswith(f"{path}.") for owner in names.owners.values())


def _when(step: int) -> str:
    return f"step {step}" if step != EVALUATION else "in evaluation mode"


def _around(path: str, kind: str, mine: Names) -> Place:
    if kind in ("root", "loss"):
        return mine.place("") if kind == "root" else Place("")
    return mine.place(path.rpartition(".")[0])


def _about_layer(item: Judged, names: tuple[str, str]) -> str:
    factor = item.record.factor
    if item.record.mismatch:
        return f"{names[1]} gives another {item.record.mismatch} than {names[0]} for the same input and weights"
    text = f"{names[1]} does not compute what {names[0]} computes for the same input and weights"
    if (
        factor is not None
        and abs(factor - 1) > 1e-6
        and item.record.error < 2 * abs(factor - 1) * item.record.scale * 1.05
    ):
        text += f"; its output is the reference's times about {factor:.6g}"
    return text


def _about_piece(op: ForcedOp | None, others: list[CandidateOp]) -> str:
    shown = f"{op.name} ({op.file}:{op.line}) on shapes {_shapes(op.shapes)}" if op else None
    lines = sorted({o.line for o in others if o.line is not None})
    span = f"{others[0].file}:{lines[0]}" + (f"..{lines[-1]}" if len(lines) > 1 else "") if lines else None
    made = (
        f"{others[0].name} ({others[0].file}:{others[0].line}) on shapes {_shapes(others[0].shapes)}"
        if others
        else None
    )
    if shown and made:
        return f"the reference's {shown} has no counterpart by value in the candidate's {span}, which has {made}"
    if shown:
        return f"the reference's {shown} has no counterpart by value in the candidate"
    if made:
        return f"the candidate's {made} has no counterpart in the reference"
    return "the same ops lead to another value: a constant, an index or an argument differs"


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(_shape(s) for s in shapes[:3]) or "none"


def _evidence(kind: str, path: str, candidate: str, item: Judged) -> str:
    where = {"input": "what enters", "output": "what leaves", "root": "what leaves the model", "loss": "the loss"}[kind]
    return f"{where} {path}: {_numbers(item)}" if kind not in ("root", "loss") else f"{where}: {_numbers(item)}"


def _explained(item: Judged, forward: list[Judged], flow: Flow, mine: Names) -> bool:
    """Whether a backward difference lies in a piece whose forward pass differs already."""
    record = item.record
    same_step = [j.record for j in forward if j.record.step == record.step]
    if record.kind == "gradient":
        value = flow.put_in(record)
        ahead = {op.id for op in flow.ahead(value)}
        pieces = [flow.behind(r.tag) for r in same_step]
        return any(value in sources or {op.id for op in ops} & ahead for ops, sources in pieces) or any(
            r.path == record.path and r.kind in ("output", "root") and r.mismatch for r in same_step
        )
    owner = mine.owners.get(record.path, record.path.rpartition(".")[0])
    for other in same_step:
        if other.kind in ("output", "input") and other.path == owner:
            return True
        if any(op.path == owner or (owner and op.path.startswith(owner + ".")) for op in flow.behind(other.tag)[0]):
            return True
    return False


def _backward(item: Judged, flow: Flow, mine: Names, theirs: Names) -> tuple[object, Finding]:
    record = item.record
    if record.kind == "parameter-gradient":
        r, c = mine.place(record.path), theirs.place(record.candidate)
        if record.mismatch == "missing":
            text = f"{_at(c)} gets no gradient; the reference's {_at(r)} does, backward, step {record.step}"
            finding = _finding(item, "backward", None, r, c, text)
            finding.kind = "gradient-missing"
        else:
            text = f"the gradient of {_at(c)} diverges from that of {_at(r)}, "
            text += f"backward, step {record.step}: {_numbers(item)}"
            finding = _finding(item, "backward", None, r, c, text)
        if record.factor is not None and not record.mismatch:
            finding.cause = Cause(f"the candidate's gradient is about {record.factor:.6g} times the reference's", 0.3)
        return ("parameter", mine.owners.get(record.path, record.path)), finding
    ahead = flow.ahead(flow.put_in(item.record))
    own = [op for op in ahead if not mine.leaf(op.path)]
    path = common([op.path for op in own] or [op.path.rpartition(".")[0] for op in ahead] or [record.path])
    r = Place(path, own[0].file, own[0].line) if own else mine.place(record.path)
    c = theirs.place(flow.counterpart(path) if own else flow.enclosing(record))
    text = (
        f"the gradient that comes back to {record.candidate or 'the output'} diverges from that at "
        f"{record.path or 'the output'}, backward, step {record.step}: {_numbers(item)}"
    )
    finding = _finding(item, "backward", own[0].name if own else None, r, c, text)
    stop, other = flow.stopped_reference(flow.put_in(item.record)), flow.stopped_candidate(record)
    if stop is not None and other is not None and record.mismatch == "stopped":  # the reference stops another use of it
        stop, other = None, flow.stopped_candidate(record, skip=flow.stops_reference(flow.put_in(item.record)))
    if (stop is None) != (other is None):
        made = flow.unstopped(stop) if stop is not None else None
        if made is not None and (finding.candidate is None or finding.candidate.line is None):
            finding.candidate = Place(made.path, made.file, made.line)
        return _stopped(finding, record, stop, other)
    finding.kind = "gradient-missing" if record.mismatch == "stopped" else "unexplained"
    factor = f"; it is about {record.factor:.6g} times the reference's" if record.factor is not None else ""
    finding.cause = Cause(
        "the forward pass agrees here, the backward pass of the code behind it does not" + factor, 0.3
    )
    return ("gradient", r.path, finding.op, c.path), finding


def _stopped(
    finding: Finding, record: Measured, stop: ForcedOp | None, other: OpEvent | None
) -> tuple[object, Finding]:
    """One side cuts the graph behind a boundary where the other does not."""
    finding.kind = "stopped-gradient"
    if other is not None:
        finding.op = other.name
        finding.candidate = Place(other.path, other.file, other.line)
        text = f"{other.name} ({other.file}:{other.line}) stops the gradient that the reference lets through"
        finding.fix = f"remove the stop_gradient at {other.file}:{other.line}"
    elif stop is not None:
        finding.op = stop.name
        finding.reference = Place(stop.path, stop.file, stop.line)
        text = (
            f"the reference's {stop.name} ({stop.file}:{stop.line}) stops the gradient that the candidate lets through"
        )
        finding.fix = "ops.stop_gradient(...) around what the reference detaches"
    finding.cause = Cause(text, 0.9, finding.message)
    finding.message = f"{finding.message}; {text}"
    return ("stopped", finding.op, record.path), finding


def _propagated(judged: list[Judged], findings: list[Finding], mine: Names, theirs: Names) -> list[Finding]:
    if not any(f.severity == "fault" for f in findings):
        return []
    introduced = {f.reference.path for f in findings if f.reference}
    found: dict[str, Finding] = {}
    for item in judged:
        record = item.record
        noise = item.relative[1]
        if (
            record.stage != "forward"
            or record.kind != "output"
            or item.flagged
            or record.accumulated is None
            or record.path in found
        ):
            continue
        if record.path in introduced or record.accumulated <= FACTOR * max(8 * noise, 1e-6):
            continue
        r, c = mine.place(record.path), theirs.place(record.candidate)
        message = (
            f"{_at(c)} inherits a difference: {record.accumulated:.1e} from the reference's run, "
            f"{item.relative[0]:.1e} of its own"
        )
        found[record.path] = Finding(
            "inherited", "forward", "note", "propagated", record.step, None, r, c, record.accumulated, noise,
            record.accumulated / noise if noise else None, message,
        )  # fmt: skip
    return list(found.values())
