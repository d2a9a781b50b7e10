"""Which companion of the candidate is which of the reference, and which of its parameters."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from parity.align.nodes import Node, build_nodes, squeezed
from parity.align.parameters import Mapping, Pair, alike, map_parameters, to_reference
from parity.model import EVALUATION, CompanionEvent, CompanionInfo, ParameterInfo
from parity.trace import Trace


class CompanionPair(msgspec.Struct):
    """Two companions that correspond.

    `certain` tells that nothing but this correspondence is possible, or that both make the same of the same input.
    """

    reference: str
    candidate: str
    certain: bool
    pairs: list[Pair]


def paired(candidate: Trace) -> list[CompanionPair]:
    """Which companions of a candidate were paired; none where its trace does not say so in the right form."""
    known = candidate.meta.mapping.get("companions", []) if isinstance(candidate.meta.mapping, dict) else []
    try:
        return msgspec.convert(known, list[CompanionPair])
    except msgspec.ValidationError:
        return []


def frozen_parts(trace: Trace) -> list[CompanionInfo]:
    """The parts of a model, outermost first, of which nothing is trained: what another script may keep beside it."""
    found: list[CompanionInfo] = []
    for layer in sorted(trace.layers, key=lambda layer: layer.path.count(".")):
        held = [p for p in trace.parameters if layer.path and p.name.startswith(layer.path + ".")]
        inside = any(layer.path.startswith(other.name + ".") for other in found)
        if not inside and any(not p.buffer for p in held) and not any(p.trainable for p in held):
            types = {x.path[len(layer.path) + 1 :]: x.type for x in trace.layers if x.path.startswith(layer.path + ".")}
            found.append(CompanionInfo(layer.path, layer.type, layer.file, layer.line, held, types))
    return found


def counterpart(info: CompanionInfo, others: list[CompanionInfo]) -> CompanionInfo | None:
    """The one among several companions of the other side that has the same shapes, by its name.

    Args:
        info: A companion.
        others: Companions of the other side that have no counterpart yet.
    """
    fitting = [other for other in others if _shapes(other) == _shapes(info)]
    return max(fitting, key=lambda other: alike(other.name, info.name)) if fitting else None


def _shapes(info: CompanionInfo) -> Counter[tuple[int, ...]]:
    return Counter(tuple(sorted(squeezed(p.shape))) for p in info.parameters if not p.buffer)


def mapped(reference: CompanionInfo, candidate: CompanionInfo) -> tuple[Mapping, bool]:
    """The correspondence of two companions' parameters, and whether shapes and kinds leave no other one.

    Args:
        reference: The reference's companion.
        candidate: The candidate's, of the same shapes.
    """
    mine, theirs = _nodes(reference), _nodes(candidate)
    mapping = map_parameters(mine, theirs)
    alone = all(count == 1 for count in Counter(node.signature for node in mine).values())
    return mapping, alone and complete(mapping, candidate)


def complete(mapping: Mapping, candidate: CompanionInfo) -> bool:
    """Whether every parameter of a candidate's companion has a counterpart."""
    done = {pair.candidate for pair in mapping.pairs}
    return all(p.buffer or p.name in done for p in candidate.parameters)


def _nodes(info: CompanionInfo) -> list[Node]:
    types = {f"{info.name}.{path}": kind for path, kind in info.types.items()}
    nodes = build_nodes(info.parameters, types, [], [])
    places = {f"{info.name}.{path}": place for place, path in enumerate(info.order)}
    return sorted(nodes, key=lambda node: places.get(node.path, len(places)))


def mapped_as_copies(
    reference: CompanionInfo,
    candidate: CompanionInfo,
    models: tuple[list[ParameterInfo], list[ParameterInfo]],
    pairs: list[Pair],
) -> Mapping | None:
    """The correspondence of two companions that are copies of the trained models, or of the same part of them.

    Args:
        reference: The reference's companion.
        candidate: The candidate's.
        models: The parameters of the reference's and of the candidate's models.
        pairs: Which of these correspond.

    Returns:
        None where one of them is no copy, or where the parts do not correspond.
    """
    own, other = (copied_from(info, held) for info, held in zip((reference, candidate), models, strict=True))
    if own is None or other is None:
        return None
    back = {source: name for name, source in own.items()}
    here = {source: name for name, source in other.items()}
    found: list[Pair] = []
    for pair in pairs:
        parts = [pair.reference] if pair.reference else pair.parts
        if pair.candidate in here and all(part in back for part in parts):
            found.append(
                msgspec.structs.replace(
                    pair,
                    candidate=here[pair.candidate],
                    reference=back.get(pair.reference, ""),
                    parts=[back[p] for p in pair.parts],
                )
            )
    mapping = Mapping(found, [])
    return mapping if complete(mapping, candidate) else None


def copied_from(info: CompanionInfo, model: list[ParameterInfo]) -> dict[str, str] | None:
    """The parameter of the trained model that each parameter of a companion has the relative name and shape of.

    Args:
        info: A companion.
        model: The model's parameters.

    Returns:
        Names of the model by names of the companion; None where it is no copy of the model or of a part of it.
    """
    within = {p.name[len(info.name) + 1 :]: p for p in info.parameters}
    weights = [name for name, p in within.items() if not p.buffer]
    shapes = {name: p.shape for p in model for name in p.names}
    if not weights:
        return None
    first = weights[0]
    for known in shapes:
        if known != first and not known.endswith("." + first):
            continue
        prefix = known[: len(known) - len(first)]
        if all(shapes.get(prefix + name) == within[name].shape for name in weights):
            return {p.name: prefix + name for name, p in within.items() if prefix + name in shapes}
    return None


class CompanionValues:
    """The weights with which a candidate called its companions, by the reference's names.

    Args:
        trace: The candidate's trace.
    """

    def __init__(self, trace: Trace) -> None:
        self.pairs = {pair.reference: pair for pair in paired(trace)}
        self._trace = trace
        self._events = {(e.step, e.name): e for e in trace.of(CompanionEvent)}
        self._resting = [e for e in trace.every(CompanionEvent) if not e.name]

    def at(self, step: int, name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """The values at the first call in a step; empty where there was none.

        Args:
            step: Training step.
            name: The reference's companion.
            shapes: The shapes of its parameters by name.
        """
        pair = self.pairs.get(name)
        event = self._events.get((step, pair.candidate)) if pair is not None else None
        if pair is None or event is None:
            return {}
        values = {key: self._trace.array(ref) for key, ref in event.values.items()}
        return to_reference(Mapping(pair.pairs, []), values, shapes)

    def start(self, name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """The weights that a companion starts with.

        Args:
            name: The reference's companion.
            shapes: The shapes of its parameters by name.
        """
        pair = self.pairs.get(name)
        info = next((c for c in self._trace.companions if pair is not None and c.name == pair.candidate), None)
        if pair is None or info is None:
            return {}
        values = {p.name: self._trace.array(p.ref) for p in info.parameters if p.ref is not None}
        return to_reference(Mapping(pair.pairs, []), values, shapes)

    def resting(self, step: int, mapping: Mapping, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """The present values of weights that are not trained, in a step, by the reference's names.

        Args:
            step: Training step.
            mapping: The correspondence of the models' parameters.
            shapes: The shapes of the reference's parameters by name.
        """
        present = {p.name: p.ref for p in self._trace.parameters if p.ref is not None and not p.buffer}
        for event in self._resting:
            if step == EVALUATION or EVALUATION < event.step <= step:
                present.update(event.values)
        values = {name: self._trace.array(ref) for name, ref in present.items()}
        return to_reference(mapping, values, shapes)
