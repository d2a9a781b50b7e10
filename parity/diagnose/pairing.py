"""Which layers of two runs stand for each other, so that what was declared of them can be compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from parity.model import CallEvent, LayerInfo
from parity.trace import Trace

CONTAINERS = frozenset(
    ["Sequential", "ModuleList", "ModuleDict", "SequentialCell", "CellList", "CellDict", "ParameterList"]
)
"""Classes of either framework that only hold layers."""


class LayerPair(NamedTuple):
    """A library layer of the reference and the candidate's counterpart."""

    reference: LayerInfo
    candidate: LayerInfo


def layer_pairs(reference: Trace, candidate: Trace, known: Callable[[str, str], bool]) -> list[LayerPair]:
    """Library layers that correspond, in the candidate's order of execution.

    Layers that hold parameters are paired by the alignment of the parameters; where they stand inside composed library
    layers (an attention, an LSTM), these are paired instead. Layers without parameters are paired where they stand
    between the same neighbours on both sides.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace.
        known: Whether two class names are counterparts.
    """
    mine, theirs = _Side(reference), _Side(candidate)
    pairs: dict[tuple[str, str], None] = {}
    for node in (candidate.meta.mapping or {}).get("nodes", []):
        if len(node["reference"]) == len(node["candidate"]) == 1:
            pairs[_outermost(mine, theirs, node["reference"][0], node["candidate"][0], known)] = None
    anchors = {r: c for r, c in pairs if r in mine.layers and c in theirs.layers}
    for pair in _between(mine, theirs, anchors):
        pairs.setdefault(pair)
    found = [LayerPair(mine.layers[r], theirs.layers[c]) for r, c in pairs if r in mine.layers and c in theirs.layers]
    found = [p for p in found if p.reference.framework and p.candidate.framework]
    return sorted(found, key=lambda p: theirs.order.get(p.candidate.path, 1 << 40))


def losses(trace: Trace) -> list[LayerInfo]:
    """The library's loss layers that the first step called, in order."""
    side = _Side(trace)
    found = [layer for layer in trace.layers if layer.framework and layer.type.endswith("Loss")]
    return sorted((x for x in found if x.path in side.order), key=lambda x: side.order[x.path])


class _Side:
    """One side's library layers, and the order in which the first step called them."""

    def __init__(self, trace: Trace) -> None:
        self.layers: dict[str, LayerInfo] = {}
        for layer in trace.layers:
            self.layers.setdefault(layer.path, layer)
        self.calls = sorted(trace.of(CallEvent, 0), key=lambda c: c.id)
        self.order: dict[str, int] = {}
        for call in self.calls:
            self.order.setdefault(call.path, call.id)

    def chain(self, path: str) -> list[str]:
        """The library layers around and at a path, outermost first."""
        words = path.split(".")
        paths = [".".join(words[: n + 1]) for n in range(len(words))]
        return [p for p in paths if (x := self.layers.get(p)) and x.framework and x.type not in CONTAINERS]

    def leaves(self) -> list[str]:
        """The library's layers in order of their calls, without those that are parts of others of the library."""
        found: list[str] = []
        for call in self.calls:
            chain = self.chain(call.path)
            if chain and chain[0] == call.path and not self.layers[call.path].type.endswith("Loss"):
                found.append(call.path)
        return found


def _outermost(mine: _Side, theirs: _Side, r: str, c: str, known: Callable[[str, str], bool]) -> tuple[str, str]:
    for outer in mine.chain(r):
        for other in theirs.chain(c):
            if known(mine.layers[outer].type, theirs.layers[other].type):
                return outer, other
    return r, c


def _between(mine: _Side, theirs: _Side, anchors: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of other layers that stand between the same anchors."""
    mine_gaps = _gaps(mine.leaves(), set(anchors))
    their_gaps = {(a, b, n): gap for a, b, n, gap in _gaps(theirs.leaves(), set(anchors.values()))}
    found = []
    for before, after, number, gap in mine_gaps:
        key = (anchors.get(before, ""), anchors.get(after, ""), number)
        other = their_gaps.get(key, [])
        found += _matched(gap, other, mine, theirs)
    return found


def _gaps(leaves: list[str], anchors: set[str]) -> list[tuple[str, str, int, list[str]]]:
    """Runs of other layers with the anchors before and after, and which run between these two it is."""
    found: list[tuple[str, str, int, list[str]]] = []
    seen: Counter[tuple[str, str]] = Counter()
    before = ""
    gap: list[str] = []
    for path in [*leaves, ""]:
        if path in anchors or not path:
            found.append((before, path, seen[(before, path)], gap))
            seen[(before, path)] += 1
            before, gap = path, []
        else:
            gap.append(path)
    return found


def _matched(gap: list[str], other: list[str], mine: _Side, theirs: _Side) -> list[tuple[str, str]]:
    """Layers of one family in order, where both sides have as many; of what is left, those of one kind likewise."""
    found: list[tuple[str, str]] = []
    for group in (family_of, kind_of_layer):
        groups: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for number, (paths, side) in enumerate(((gap, mine), (other, theirs))):
            for path in paths:
                name = group(side.layers[path].type)
                if name is not None and path not in {pair[number] for pair in found}:
                    groups[name][number].append(path)
        for paths, others in groups.values():
            if len(paths) == len(others):
                found += zip(paths, others, strict=True)
    return found


_FAMILIES = ("dropout", "relu6", "leakyrelu", "prelu", "relu", "gelu", "silu", "sigmoid", "tanh", "softmax", "maxpool",
             "avgpool", "upsample", "flatten", "identity", "pixelshuffle", "pad")  # fmt: skip
_ACTIVATIONS = ("relu", "gelu", "silu", "swish", "sigmoid", "tanh", "elu", "mish", "softplus", "softsign", "shrink")


def family_of(type_name: str) -> str | None:
    """The family of a layer without parameters, where both frameworks have it."""
    lower = type_name.lower().replace("swish", "silu").replace("adaptive", "")
    return next((family for family in _FAMILIES if family in lower), None)


def kind_of_layer(type_name: str) -> str:
    """What a layer is for, coarser than its family."""
    lower = type_name.lower()
    if "pool" in lower:
        return "pooling"
    if "norm" in lower:
        return "normalisation"
    return "activation" if any(word in lower for word in _ACTIVATIONS) else lower
