"""The computational graph of each side's first step, from the op records: what a report draws, with its findings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

import msgspec

from parity.diagnose.counterparts import corresponding
from parity.diagnose.pairing import CONTAINERS
from parity.document import Finding, Place
from parity.model import CallEvent, Item, LossEvent, OpEvent, SourceEvent
from parity.trace import Trace

_RESULT = ("parameter:", "loss")


class Node(msgspec.Struct):
    """A library layer's call, a functional op outside of these, a tensor from outside, or the loss.

    Attributes:
        id: Its number, in order of execution.
        kind: `layer`, `op`, `input` or `loss`.
        path: The layer's path, or that of the layer whose code calls the op; `""` for the model and the loop.
        name: The class, the op, or where the tensor comes from.
        file: The script's file of an op.
        line: The line in it.
        shape: Of the first result.
        call: Which call of the layer it is, from 0.
        counterpart: The path of the other side's layer, empty where there is none or it is no layer.
        findings: Positions in the comparison of the findings that lie here.
    """

    id: int
    kind: str
    path: str
    name: str
    file: str | None = None
    line: int | None = None
    shape: tuple[int, ...] = ()
    call: int = 0
    counterpart: str = ""
    findings: list[int] = []


class Network(msgspec.Struct):
    """Nodes in order of execution, and the edges between them by their numbers: from the maker to the reader."""

    nodes: list[Node]
    edges: list[tuple[int, int]]


def networks(reference: Trace, candidate: Trace, findings: list[Finding]) -> dict[str, Any]:
    """Both graphs as plain data: `reference` and `candidate`, each with `nodes` and `edges`."""
    pairs = corresponding(reference, candidate)
    other = {p.reference.path: p.candidate.path for p in pairs}, {p.candidate.path: p.reference.path for p in pairs}
    made = network(reference), network(candidate)
    for side, (graph, known) in enumerate(zip(made, other, strict=True)):
        places = [(f.candidate if side else f.reference, f.op) for f in findings]
        for node in graph.nodes:
            node.counterpart = known.get(node.path, "") if node.kind == "layer" else ""
            node.findings = [n for n, (place, op) in enumerate(places) if place is not None and _at(node, place, op)]
    return {name: msgspec.to_builtins(graph) for name, graph in zip(("reference", "candidate"), made, strict=True)}


def _at(node: Node, place: Place, op: str | None) -> bool:
    if node.kind == "layer":
        return bool(node.path) and (place.path == node.path or place.path.startswith(node.path + "."))
    return node.kind == "op" and node.path == place.path and node.line == place.line and op in (None, node.name)


def network(trace: Trace) -> Network:
    """The graph of a trace's first step.

    Ops inside a library's layer are part of it; ops that only rearrange are left out, and what reads their results
    reads what they read. A tensor whose identity was lost on its way is known again by its content.
    """
    return _Builder(trace).built()


class _Builder:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.types = {layer.path: layer.type for layer in reversed(trace.layers)}
        self.library = {x.path for x in trace.layers if x.framework and x.type not in CONTAINERS}
        self.nodes: list[Node] = []
        self.edges: dict[tuple[int, int], None] = {}
        self.makers: dict[int, list[int]] = {}
        self.contents: dict[str, list[int]] = {}
        self.inside: dict[int, int] = {}

    def built(self) -> Network:
        sources = {e.vid: e for e in self.trace.of(SourceEvent, 0)}
        calls = [c for c in self.trace.of(CallEvent, 0) if c.path in self.library and c.phase == "train"]
        calls = [c for c in calls if not self._within(c.path)]
        spans = sorted((c.id, c.end) for c in calls)
        ops = [o for o in self.trace.of(OpEvent, 0) if o.phase == "train" and not _covered(o.id, spans)]
        records: list[tuple[int, CallEvent | OpEvent]] = [(c.id, c) for c in calls] + [(o.id, o) for o in ops]
        for _, record in sorted(records, key=lambda pair: pair[0]):
            read = record.inputs if isinstance(record, OpEvent) else [item.vid for item in record.inputs]
            before = list(dict.fromkeys(n for vid in read for n in self._made(vid, sources)))
            if isinstance(record, OpEvent) and record.view:
                self._makes(record.outputs, before)
                continue
            self._makes(record.outputs, [self._add(record, before)])
        for loss in self.trace.of(LossEvent, 0):
            node = self._node("loss", "", "loss", loss.file, loss.line, loss.ref.shape)
            self.edges.update(dict.fromkeys((n, node) for n in self._made(loss.vid, sources)))
        return Network(self.nodes, list(self.edges))

    def _within(self, path: str) -> bool:
        """Whether a layer is part of another one of the library."""
        words = path.split(".")
        return any(".".join(words[:n]) in self.library for n in range(1, len(words)))

    def _add(self, record: CallEvent | OpEvent, before: list[int]) -> int:
        shape = record.outputs[0].ref.shape if record.outputs else ()
        if isinstance(record, OpEvent):
            node = self._node("op", record.path, record.name, record.file, record.line, shape)
        else:
            node = self._node("layer", record.path, self.types.get(record.path, ""), None, None, shape)
            self.nodes[node].call = record.call
        self.edges.update(dict.fromkeys((n, node) for n in before))
        return node

    def _node(self, kind: str, path: str, name: str, file: str | None, line: int | None, shape: Iterable[int]) -> int:
        self.nodes.append(Node(len(self.nodes), kind, path, name, file, line, tuple(shape)))
        return len(self.nodes) - 1

    def _makes(self, outputs: list[Item], nodes: list[int]) -> None:
        for item in outputs:
            self.makers[item.vid] = self.contents[item.ref.digest] = nodes

    def _made(self, vid: int, sources: dict[int, SourceEvent]) -> list[int]:
        """The nodes behind a tensor; a new one where it comes from outside, none where it is a parameter."""
        known = self.makers.get(vid)
        source = sources.get(vid)
        if known is not None or source is None:
            return known or []
        known = self.contents.get(source.ref.digest)
        if known is None:
            known = []
            if not source.origin.startswith(_RESULT):
                known = [self._node("input", "", source.origin, None, None, source.ref.shape)]
            self.contents[source.ref.digest] = known
        self.makers[vid] = known
        return known


def _covered(number: int, spans: list[tuple[int, int]]) -> bool:
    """Whether an op runs within one of these calls, which are in order and apart."""
    place = bisect_right(spans, number, key=itemgetter(0))
    return place > 0 and number < spans[place - 1][1]
