"""Pairs of layers that the user has fixed: they are matched among themselves, everything else among the rest."""

from __future__ import annotations

from collections.abc import Sequence

from parity.align.nodes import Node
from parity.align.parameters import Mapping, map_parameters
from parity.errors import UsageError


def map_pinned(reference: list[Node], candidate: list[Node], pins: Sequence[tuple[str, str]]) -> Mapping:
    """Pairs two models' nodes as `map_parameters` does, but never across a pin.

    Args:
        reference: The reference's nodes in order of use.
        candidate: The candidate's nodes in order of use.
        pins: Paths of layers, reference first; each stands for itself and all below it.

    Raises:
        UsageError: A pin names a layer without parameters, or one that is not there.
    """
    mapping = Mapping()
    for mine, theirs in sorted(pins, key=lambda pin: -len(pin[0])):
        inside = [node for node in reference if _within(node.path, mine)]
        others = [node for node in candidate if _within(node.path, theirs)]
        for side, path, found in (("reference", mine, inside), ("candidate", theirs, others)):
            if not found:
                raise UsageError(
                    f"parity.toml pins {path}, but the {side} has no layer with parameters there",
                    hint="name a layer as the model does, such as encoder.layers.0", side=side,
                )  # fmt: skip
        part = map_parameters(inside, others)
        for node in part.nodes:
            node.how, node.confidence = "pinned in parity.toml", 1.0
        mapping.nodes += part.nodes
        mapping.pairs += part.pairs
        reference = [node for node in reference if node not in inside]
        candidate = [node for node in candidate if node not in others]
    rest = map_parameters(reference, candidate)
    return Mapping(mapping.pairs + rest.pairs, mapping.nodes + rest.nodes)


def _within(path: str, above: str) -> bool:
    return path == above or path.startswith(above + ".")
