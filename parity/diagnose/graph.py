"""The data flow of a forced run: which ops stand behind a value, and where the two sides first part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from typing import NamedTuple

from parity.align.values import rms, tame
from parity.compare.faults import Judged
from parity.measured import Forced, ForcedOp, Measured
from parity.model import CallEvent, Item, LossEvent, OpEvent
from parity.tolerance import CANCELLED, FACTOR
from parity.trace import Trace

_STOPS = ("stopgradient", "stop_gradient", "detach", "detach_")


class CandidateOp(NamedTuple):
    """An op of the candidate that no tensor of the reference accounts for."""

    name: str
    path: str
    file: str | None
    line: int | None
    shapes: list[tuple[int, ...]]
    order: int


class Flow:
    """Walks the reference's ops of a forced run and the candidate's recorded ops.

    Args:
        forced: The forced run.
        candidate: The candidate's trace.
    """

    def __init__(self, forced: Forced, candidate: Trace) -> None:
        self.forced = forced
        self.candidate = candidate
        self.producer: dict[int, ForcedOp] = {}
        self.consumers: dict[int, list[ForcedOp]] = defaultdict(list)
        for op in forced.ops:
            for tag in op.outputs:
                self.producer[tag] = op
            for tag in op.inputs:
                self.consumers[tag].append(op)
        self.boundary = {r.forced: r for r in forced.measured if r.forced >= 0}
        self.before = {r.tag: r for r in forced.measured if r.forced >= 0}
        self._losses = set(forced.losses)
        self.calls: dict[int, CallEvent] = {}
        self.ops: dict[int, OpEvent] = {}
        self._made: dict[tuple[int, int], OpEvent] = {}
        self._constants: dict[int, bool] = {}
        self._fixed: dict[int, bool] = {}
        for event in candidate.events:
            if isinstance(event, CallEvent):
                self.calls[event.id] = event
            elif isinstance(event, OpEvent):
                self.ops[event.id] = event
                for item in event.outputs:
                    self._made[(event.step, item.vid)] = event
        self.losses = {(e.step, e.backward): e for e in candidate.events if isinstance(e, LossEvent)}
        self._library = {layer.path for layer in candidate.layers if layer.framework and not layer.children}
        self._given = {
            (r.step, vid): r.tag
            for r in forced.measured
            if r.forced >= 0 and r.kind == "output"
            for vid in self._start(r)
        }

    def put_in(self, record: Measured) -> int:
        """What the reference went on with at a boundary: the candidate's value, else the reference's own."""
        before = self.before.get(record.tag)
        return before.forced if before is not None else record.tag

    def behind(self, tag: int, stop: float | None = None, strict: bool = False) -> tuple[list[ForcedOp], set[int]]:
        """The ops behind a value back to the boundaries.

        Args:
            tag: The value.
            stop: Where given, ops whose value the candidate has to within this relative distance end the walk too.
            strict: The same elements in another order do not count as the value.

        Returns:
            The ops in order, and the identities of the boundaries' values that they start from.
        """
        found: dict[int, ForcedOp] = {}
        sources: set[int] = set()
        todo = [tag]
        while todo:
            current = todo.pop()
            if current in self.boundary:
                sources.add(current)
                continue
            op = self.producer.get(current)
            if op is None or op.id in found:
                continue
            if stop is not None and op.best is not None and op.best <= stop and not op.moved:
                continue
            if stop is not None and not strict and op.moved and op.best is not None and op.best <= 1e-6:
                continue
            found[op.id] = op
            todo += op.inputs
        return sorted(found.values(), key=lambda o: o.id), sources

    def ahead(self, tag: int) -> list[ForcedOp]:
        """The ops that a value enters before the next boundary in the backward sense (layers' outputs)."""
        found: dict[int, ForcedOp] = {}
        todo = [tag]
        while todo:
            current = todo.pop()
            record = self.before.get(current)
            if record is not None and record.cut:
                continue
            if record is not None:
                todo.append(record.forced)
            for op in self.consumers.get(current, ()):
                if op.id not in found:
                    found[op.id] = op
                    todo += op.outputs
        return sorted(found.values(), key=lambda o: o.id)

    def stopped_reference(self, tag: int) -> ForcedOp | None:
        """The op by which the reference keeps gradients from coming back to a value."""
        return next(self._stops(tag), None)

    def unstopped(self, stop: ForcedOp) -> OpEvent | None:
        """The op of the candidate that makes what an op of the reference takes and stops."""
        makers = [self.producer.get(tag) for tag in stop.inputs[:1]]
        return next((self.ops.get(maker.match) for maker in makers if maker is not None), None)

    def stops_reference(self, tag: int) -> int:
        """How many ops of the reference keep gradients from coming back to a value."""
        return sum(1 for _ in self._stops(tag))

    def _stops(self, tag: int) -> Iterator[ForcedOp]:
        """Ops ahead of a value that stop gradients on the way to a loss; what is only printed has no part in it."""
        return (op for op in self.ahead(tag) if op.name in _STOPS and self._reaches_loss(op))

    def _reaches_loss(self, op: ForcedOp) -> bool:
        """Whether a loss depends on what an op of the reference made."""
        seen: set[int] = set()
        todo = list(op.outputs)
        while todo:
            current = todo.pop()
            if current in self._losses:
                return True
            if current in seen:
                continue
            seen.add(current)
            record = self.before.get(current)
            if record is not None:
                todo.append(record.forced)
            todo += [tag for consumer in self.consumers.get(current, ()) for tag in consumer.outputs]
        return False

    def stopped_candidate(self, record: Measured, skip: int = 0) -> OpEvent | None:
        """The op by which the candidate keeps gradients from coming back to a boundary's value.

        Args:
            record: What was measured at the boundary.
            skip: So many of such ops, counted over all calls of the layer in this step, have their counterparts.
        """
        own = self.calls.get(record.event)
        if own is None:
            return None
        calls = [own] if not skip else [c for c in self.calls.values() if (c.step, c.path) == (own.step, own.path)]
        known = {item.vid for call in calls for item in call.outputs}
        first = min(call.id for call in calls)
        found: list[OpEvent] = []
        for op in sorted(self.ops.values(), key=lambda op: op.id):
            if op.step != record.step or op.id <= first or known.isdisjoint(op.inputs):
                continue
            if op.name.lower() in _STOPS:
                found.append(op)
            elif op.view:
                known.update(item.vid for item in op.outputs)
        return found[skip] if len(found) > skip else None

    def reference_piece(self, record: Measured, limit: float) -> list[ForcedOp]:
        """The reference's ops in the piece before a boundary whose values the candidate does not have, in order."""
        ops, _ = self.behind(record.tag, limit)
        real = [op for op in ops if op.floating and not op.view and not self._constant(op)]
        if not real:
            ops = [op for op in self.behind(record.tag, limit, strict=True)[0] if not self._constant(op)] or ops
        return real or [op for op in ops if op.floating] or ops or self._too_early(record)

    def _too_early(self, record: Measured) -> list[ForcedOp]:
        """An op of the piece whose value the candidate had only before it had what enters the op.

        What is added to zeros is such a value: it is found in the candidate, but not as a sum.
        """
        known = {tag: one.event for tag, one in self.boundary.items() if one.kind == "output"}
        for op in self.behind(record.tag)[0]:
            entered = [known.get(tag, -1) for tag in op.inputs]
            if op.floating and not op.view and -1 < op.match < max(entered, default=-1):
                return [op]
            known.update(dict.fromkeys(op.outputs, max([op.match, *entered])))
        return []

    def _constant(self, op: ForcedOp) -> bool:
        """Whether nothing but shapes and constants enters an op."""
        known = self._constants.get(op.id)
        if known is None:
            makers = [self.producer.get(tag) for tag in op.inputs]
            known = self._constants[op.id] = all(
                maker is not None and tag not in self.boundary and self._constant(maker)
                for maker, tag in zip(makers, op.inputs, strict=True)
            )
        return known

    def candidate_piece(self, record: Measured, limit: float, moved: bool = True) -> list[CandidateOp]:
        """The candidate's ops before the same boundary that have no counterpart by value, in order.

        Args:
            record: What was measured at the boundary.
            limit: The relative distance up to which two tensors count as one.
            moved: Where there are none, take those that have their counterpart's elements in another order.
        """
        found = self._unmatched(record, limit, set())
        if found or not moved:
            return found
        return self._unmatched(record, limit, set(self.forced.candidate_moved.get(str(record.step), ())))

    def _unmatched(self, record: Measured, limit: float, moved: set[str]) -> list[CandidateOp]:
        best = self.forced.candidate_best.get(str(record.step), {})
        found: dict[int, OpEvent] = {}
        todo = self._start(record)
        own = {self.put_in(record), record.tag}
        while todo:
            vid = todo.pop()
            op = self._made.get((record.step, vid))
            if (
                op is None
                or op.id in found
                or self._given.get((record.step, vid), record.tag) not in own
                or any(best.get(item.ref.digest, 1e9) <= limit and item.ref.digest not in moved for item in op.outputs)
            ):
                continue
            found[op.id] = op
            todo += op.inputs
        ordered = sorted(found.values(), key=lambda o: o.id)
        floating = [o for o in ordered if any("float" in item.ref.dtype for item in o.outputs)]
        real = [o for o in floating if not o.view and not self._unchanging(o)]
        return [CandidateOp(o.name, o.path, o.file, o.line, o.shapes, o.id) for o in real or floating or ordered]

    def _unchanging(self, op: OpEvent) -> bool:
        """The same as `_constant`, for an op of the candidate."""
        known = self._fixed.get(op.id)
        if known is None:
            makers = [self._made.get((op.step, vid)) for vid in op.inputs]
            known = self._fixed[op.id] = all(maker is not None and self._unchanging(maker) for maker in makers)
        return known

    def _start(self, record: Measured) -> list[int]:
        if record.kind == "loss":
            loss = self.losses.get((record.step, record.call))
            return [loss.vid] if loss is not None else []
        call = self.calls.get(record.event)
        if call is None:
            return []
        items: list[Item] = call.inputs if record.kind == "input" else call.outputs
        named = [i.vid for i in items if i.name == record.item] or [i.vid for i in items[:1]]
        return named

    def crossed(self, item: Judged, culprits: Container[int]) -> bool:
        """Whether an op that was blamed already stands behind this boundary too: its value entered several pieces."""
        if item.record.kind == "output" or not culprits:
            return False
        ops, _ = self.behind(item.record.tag, limit_of(item), strict=True)
        return any(op.id in culprits for op in ops)

    def loses_digits(self, item: Judged) -> bool:
        """Whether the candidate's own formula explains the difference by cancellation.

        Where an intermediate of the candidate, which the reference does not have, is larger than the result, its
        rounding is that of the intermediate: `2 * sigmoid(2 * x) - 1` near 0 is right, but to fewer digits than `tanh`.
        """
        record = item.record
        if record.kind == "loss" or record.mismatch:
            return False
        peak = 0.0
        for op in self.candidate_piece(item.record, limit_of(item)):
            for made in self.ops[op.order].outputs:
                if "float" in made.ref.dtype:
                    peak = max(peak, rms(tame(self.candidate.array(made.ref))))
        return peak > 2 * record.scale and record.error <= CANCELLED * record.unit * peak

    def half(self, record: Measured) -> str | None:
        """The half precision in which the candidate computed a boundary's value, None where it did not."""
        if record.unit > 2.0**-24:
            return None
        call = self.calls.get(record.event)
        if call is not None:
            made = [item.ref.dtype for op in self.ops.values() if call.id < op.id < call.end for item in op.outputs]
            made += [item.ref.dtype for item in (call.inputs if record.kind == "input" else call.outputs)]
        elif record.kind == "loss":
            piece = self.candidate_piece(record, 0.0)
            made = [item.ref.dtype for op in piece for item in self.ops[op.order].outputs]
        else:
            return None
        return next((dtype for dtype in made if dtype in ("float16", "bfloat16")), None)

    def counterpart(self, path: str) -> str:
        """The candidate's layer that encloses the counterparts of what a reference layer encloses."""
        if path in self.forced.paired:
            return self.forced.paired[path]
        inside = [c for r, c in self.forced.paired.items() if not path or r.startswith(path + ".")]
        return common(inside) if len(inside) > 1 else (inside[0].rpartition(".")[0] if inside else "")

    def enclosing(self, record: Measured) -> str:
        """The candidate's layer around a boundary."""
        call = self.calls.get(record.event)
        parent = self.calls.get(call.parent) if call is not None and call.parent is not None else None
        return parent.path if parent is not None else ""

    def nearest_line(self, record: Measured, path: str) -> tuple[str | None, int | None]:
        """File and line of the last op that a layer's own code makes before a boundary, by itself or by a layer of
        the library."""
        known = [
            o for o in self.ops.values()
            if o.step == record.step and o.line is not None
            and (o.path == path or (o.path in self._library and o.path.rpartition(".")[0] == path))
        ]  # fmt: skip
        limit = record.event if record.event >= 0 else 1 << 60
        before = [o for o in known if o.id <= limit] or known
        chosen = max(before, key=lambda o: o.id, default=None)
        return (chosen.file, chosen.line) if chosen is not None else (None, None)


def limit_of(item: Judged) -> float:
    """The relative distance under which two tensors count as one in the search for a fault of this size."""
    error, noise = item.relative
    limit = max(FACTOR * noise, 1e-6)
    return min(limit, max(error / 3, 1e-7)) if error > 0 else limit


def common(paths: list[str]) -> str:
    """The path that encloses all paths."""
    parts = [p.split(".") if p else [] for p in paths]
    if not parts:
        return ""
    shared: list[str] = []
    for words in zip(*parts, strict=False):
        if len(set(words)) != 1:
            break
        shared.append(words[0])
    return ".".join(shared)
