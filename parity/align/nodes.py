"""The places of a model that hold parameters, with what surrounds them: the material of every alignment."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from parity.model import CallEvent, Item, OpEvent, ParameterInfo

_ROLES = {
    "gamma": "weight", "beta": "bias", "embedding_table": "weight", "moving_mean": "running_mean",
    "moving_variance": "running_var", "w": "weight", "weight_g": "weight_g", "kernel": "weight",
}  # fmt: skip
_KINDS = (
    ("conv", "conv"), ("batchnorm", "batchnorm"), ("layernorm", "layernorm"), ("groupnorm", "groupnorm"),
    ("instancenorm", "instancenorm"), ("rmsnorm", "layernorm"), ("embedding", "embedding"), ("linear", "linear"),
    ("dense", "linear"), ("lstm", "lstm"), ("gru", "gru"), ("rnn", "rnn"), ("multiheadattention", "attention"),
    ("prelu", "prelu"),
)  # fmt: skip


def role_of(name: str) -> str:
    """A parameter's role in one vocabulary: `gamma` is `weight`, `moving_mean` is `running_mean`."""
    return _ROLES.get(name, name)


def kind_of(type_name: str) -> str:
    """A layer class's family, or `other`."""
    lower = type_name.lower()
    return next((kind for word, kind in _KINDS if word in lower), "other")


def squeezed(shape: Iterable[int]) -> tuple[int, ...]:
    """The shape without axes of length 1."""
    return tuple(n for n in shape if n != 1)


class Use(NamedTuple):
    """What a node reads and makes when it is first used: identities and contents."""

    order: int
    called: bool
    input: Item | None
    output: Item | None
    input_vid: int


class Node:
    """A layer that owns parameters directly."""

    def __init__(self, path: str, kind: str, parameters: dict[str, ParameterInfo]) -> None:
        self.path = path
        self.kind = kind
        self.parameters = parameters
        self.call_use: Use | None = None
        self.op_use: Use | None = None
        self.before: set[int] = set()
        self.after: set[int] = set()
        self.rank = 0
        self.labels: list[int] = []

    @property
    def signature(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of its trainable parameters, without axes of length 1, in a fixed order."""
        chosen = [p for p in self.parameters.values() if not p.buffer] or list(self.parameters.values())
        return tuple(
            sorted(
                tuple(sorted(squeezed(p.shape))) if len(squeezed(p.shape)) == 2 else squeezed(p.shape) for p in chosen
            )
        )

    @property
    def core(self) -> tuple[int, ...]:
        """The largest of these shapes: what stays where a bias is left out."""
        return max(self.signature, key=lambda shape: (math.prod(shape), shape), default=())

    @property
    def use(self) -> Use | None:
        """Its first call where it is a layer of its own, else the first op that reads one of its parameters."""
        return self.call_use or self.op_use

    @property
    def order(self) -> int:
        return self.use.order if self.use else 1 << 40


def build_nodes(
    parameters: list[ParameterInfo], types: dict[str, str], calls: list[CallEvent], ops: list[OpEvent]
) -> list[Node]:
    """Nodes in order of first use, with their neighbours through everything that holds no parameter.

    Args:
        parameters: All parameters and buffers; one under several names makes a node at each owner.
        types: Class name by layer path.
        calls: Layer calls of one forward pass.
        ops: Its functional ops.
    """
    owned: dict[str, dict[str, ParameterInfo]] = defaultdict(dict)
    for parameter in parameters:
        for name in parameter.names:
            owner, _, role = name.rpartition(".")
            owned[owner][role] = parameter
    nodes = [Node(path, kind_of(types.get(path, "")), held) for path, held in owned.items()]
    by_path = {node.path: index for index, node in enumerate(nodes)}
    aliases = {p.name: p.names for p in parameters}
    _find_uses(nodes, by_path, aliases, calls, ops)
    _connect(nodes, by_path, aliases, calls, ops)
    return sorted(nodes, key=lambda n: n.order)


def _find_uses(
    nodes: list[Node],
    by_path: dict[str, int],
    aliases: dict[str, list[str]],
    calls: list[CallEvent],
    ops: list[OpEvent],
) -> None:
    for call in sorted(calls, key=lambda c: c.id):
        index = by_path.get(call.path)
        if index is not None and nodes[index].call_use is None and call.outputs and (call.path or len(nodes) == 1):
            first = call.inputs[0] if call.inputs else None
            nodes[index].call_use = Use(call.id, True, first, call.outputs[0], first.vid if first else -1)
    for op in sorted(ops, key=lambda o: o.id):
        for name in op.parameters:
            for alias in aliases.get(name, [name]):
                index = by_path.get(alias.rpartition(".")[0])
                if index is not None and nodes[index].op_use is None and op.outputs:
                    vid = next(iter(op.inputs), -1)
                    nodes[index].op_use = Use(op.id, False, None, op.outputs[0], vid)


def _connect(
    nodes: list[Node],
    by_path: dict[str, int],
    aliases: dict[str, list[str]],
    calls: list[CallEvent],
    ops: list[OpEvent],
) -> None:
    paths = {call.id: call.path for call in calls}
    reach: dict[int, frozenset[int]] = defaultdict(frozenset)
    for op in sorted(ops, key=lambda o: o.id):
        owners = {by_path.get(a.rpartition(".")[0]) for n in op.parameters for a in aliases.get(n, [n])[:1]} - {None}
        inside = by_path.get(paths.get(op.parent, "") if op.parent is not None else "")
        if not owners and inside is not None and nodes[inside].kind != "other":
            owners = {inside}
        sources = frozenset().union(*(reach[v] for v in op.inputs)) if op.inputs else frozenset()
        if owners:
            index = next(iter(owners))
            assert index is not None
            for other in sources - {index}:
                nodes[index].before.add(other)
                nodes[other].after.add(index)
            sources = frozenset({index})
        for item in op.outputs:
            reach[item.vid] = sources
    for rounds in range(4):
        labels = []
        for node in nodes:
            before = sorted(nodes[i].labels[-1] if rounds else 0 for i in node.before)
            after = sorted(nodes[i].labels[-1] if rounds else 0 for i in node.after)
            own = node.labels[-1] if rounds else 0
            labels.append(hash((own, node.core) if not rounds else (own, tuple(before), -1, tuple(after))))
        for node, label in zip(nodes, labels, strict=True):
            node.labels.append(label)


def uses(reference: Node, candidate: Node) -> tuple[Use | None, Use | None]:
    """The uses of two paired nodes that compute the same: calls of layers of one kind, else ops on the parameter."""
    if reference.kind == candidate.kind != "other" and reference.call_use and candidate.call_use:
        return reference.call_use, candidate.call_use
    if reference.kind == candidate.kind and reference.call_use and candidate.call_use and not reference.op_use:
        return reference.call_use, candidate.call_use
    return tuple(
        node.op_use if node.kind in ("attention", "other") else node.call_use or node.op_use
        for node in (reference, candidate)
    )  # type: ignore[return-value]


def numbers_in(path: str) -> list[int]:
    """Index numbers in a path: `layer1.0.conv2` gives [1, 0, 2]."""
    return [int(n) for n in re.findall(r"\d+", path)]


def words_in(path: str) -> list[str]:
    """Lower-case words of a path, split at dots, underscores, digits and camel case."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", path)
    return [w.lower() for w in re.findall(r"[A-Za-z]+", spaced)]


def projection_of(path: str) -> str | None:
    """`q`, `k` or `v` where a name says that it is that projection of an attention."""
    for word in reversed(words_in(path)[-3:]):
        for letter, stem in (("q", "quer"), ("k", "key"), ("v", "val")):
            if (
                word == letter
                or word.startswith(stem)
                or word in (f"w{letter}", f"{letter}w", f"to{letter}", f"{letter}proj", f"{letter}lin")
            ):
                return letter
    return None
