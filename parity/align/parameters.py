"""Which parameter of the candidate is which of the reference, from shapes, order, data flow and names."""

from __future__ import annotations

import difflib
from collections import defaultdict
from typing import Any

import msgspec
import numpy as np

from parity.align.assignment import assign
from parity.align.nodes import Node, numbers_in, projection_of, role_of, squeezed, words_in
from parity.model import ParameterInfo

_ATTENTION = {"q": 0, "k": 1, "v": 2}


class Pair(msgspec.Struct):
    """One parameter of the candidate and what it corresponds to.

    `transform` takes the reference's array to the candidate's: `same`, `reshape`, `transpose`, or `rows` (the rows
    `start` to `stop` of a fused reference parameter); `parts` names several reference parameters that the candidate
    holds in one, concatenated along axis 0.
    """

    candidate: str
    reference: str
    transform: str
    how: str
    confidence: float
    start: int = 0
    stop: int = 0
    parts: list[str] = []


class NodePair(msgspec.Struct):
    """Two layers that hold corresponding parameters: several on one side where they are fused on the other."""

    reference: list[str]
    candidate: list[str]
    how: str
    confidence: float


class Mapping(msgspec.Struct):
    """The alignment of two models' parameters and of the layers that own them."""

    pairs: list[Pair] = []
    nodes: list[NodePair] = []


def alike(a: str, b: str) -> float:
    """Similarity of two paths by their words and their index numbers, 0 to 1."""
    words = difflib.SequenceMatcher(None, " ".join(words_in(a)[-4:]), " ".join(words_in(b)[-4:])).ratio()
    numbers = difflib.SequenceMatcher(None, numbers_in(a), numbers_in(b)).ratio()
    return 0.6 * words + 0.4 * numbers


def costs(reference: list[Node], candidate: list[Node], every: tuple[int, int]) -> np.ndarray:
    """Cost of pairing each reference node with each candidate node of similar shapes.

    Args:
        reference: Nodes [R], in order of use.
        candidate: Nodes [C], in order of use.
        every: How many nodes the two models have in all.
    """
    cost = np.zeros((len(reference), len(candidate)))
    for i, r in enumerate(reference):
        for j, c in enumerate(candidate):
            agreed = sum(a == b for a, b in zip(r.labels[1:], c.labels[1:], strict=False)) / max(1, len(r.labels) - 1)
            place = abs(i / max(1, len(reference) - 1) - j / max(1, len(candidate) - 1)) if len(reference) > 1 else 0.0
            whole = abs(r.rank / max(1, every[0] - 1) - c.rank / max(1, every[1] - 1))
            kind = 0.0 if r.kind == c.kind else 0.3 if "other" in (r.kind, c.kind) else 1.0
            roles = projection_of(r.path), projection_of(c.path)
            wrong = 1.0 if None not in roles and roles[0] != roles[1] else 0.0
            wrong += 1.0 if r.signature != c.signature else 0.0
            cost[i, j] = (
                4.0 * (1 - agreed) + 1.5 * place + 1.0 * whole + 1.0 * (1 - alike(r.path, c.path)) + kind + wrong
            )
    return cost


def map_parameters(reference: list[Node], candidate: list[Node]) -> Mapping:
    """Pairs two models' nodes, then the parameters in them.

    Args:
        reference: The reference's nodes in order of use.
        candidate: The candidate's nodes in order of use.
    """
    for nodes in (reference, candidate):
        for rank, node in enumerate(nodes):
            node.rank = rank
    mapping = Mapping()
    taken: set[str] = set()
    _fused(reference, candidate, mapping, taken, swapped=False)
    _fused(candidate, reference, mapping, taken, swapped=True)
    for mine, theirs in _alike_in_shape(
        [n for n in reference if f"0:{n.path}" not in taken], [n for n in candidate if f"1:{n.path}" not in taken]
    ):
        chosen = assign(costs(mine, theirs, (len(reference), len(candidate))))
        for i, j in _siblings_by_name(chosen, mine, theirs):
            _pair_nodes(mine[i], theirs[j], mapping, "shapes, data flow and order", _confidence(mine, theirs, i, j))
            taken |= {f"0:{mine[i].path}", f"1:{theirs[j].path}"}
    _leftovers(reference, candidate, mapping)
    return mapping


def _alike_in_shape(reference: list[Node], candidate: list[Node]) -> list[tuple[list[Node], list[Node]]]:
    """Nodes of both sides that may be each other's counterpart, by the shapes of their parameters.

    Where one side has more layers of some shapes than the other, the lacking ones may be those without a bias.
    """
    groups: dict[Any, tuple[list[Node], list[Node]]] = defaultdict(lambda: ([], []))
    cores: dict[tuple[int, ...], set[Any]] = defaultdict(set)
    for side, nodes in enumerate((reference, candidate)):
        for node in nodes:
            groups[node.signature][side].append(node)
            cores[node.core].add(node.signature)
    for signatures in cores.values():
        if len(signatures) > 1 and any(len(groups[s][0]) != len(groups[s][1]) for s in signatures):
            for signature in signatures:
                del groups[signature]
            core = next(iter(signatures))
            for side, nodes in enumerate((reference, candidate)):
                groups[core][side].extend(n for n in nodes if n.signature in signatures)
    return list(groups.values())


def pair_roots(reference: dict[str, list[ParameterInfo]], candidate: dict[str, list[ParameterInfo]]) -> dict[str, str]:
    """Which of several models that a script trains is which: by the shapes of their parameters, names and order.

    Args:
        reference: Parameters by the path of their root.
        candidate: The same of the candidate.

    Returns:
        The reference's root path by the candidate's; empty where the two sides have not equally many.
    """
    if len(reference) != len(candidate):
        return {}
    mine, theirs = list(reference), list(candidate)
    cost = np.zeros((len(mine), len(theirs)))
    for i, r in enumerate(mine):
        for j, c in enumerate(theirs):
            a, b = (sorted(_bag(p) for p in side if p.trainable) for side in (reference[r], candidate[c]))
            same = difflib.SequenceMatcher(None, a, b).ratio()
            cost[i, j] = 4 * (1 - same) + (1 - alike(r, c)) + 0.1 * abs(i - j)
    return {theirs[j]: mine[i] for i, j in assign(cost)}


def by_root(roots: list[str], parameters: list[ParameterInfo]) -> dict[str, list[ParameterInfo]]:
    """Parameters by the root that holds them."""
    found: dict[str, list[ParameterInfo]] = {root: [] for root in roots}
    for parameter in parameters:
        owner = next((r for r in roots if r and parameter.name.startswith(r + ".")), roots[0] if roots else "")
        found.setdefault(owner, []).append(parameter)
    return found


def _siblings_by_name(chosen: list[tuple[int, int]], mine: list[Node], theirs: list[Node]) -> list[tuple[int, int]]:
    """Pairs layers that read the same tensor on both sides by name: among those, order means nothing."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for i, j in chosen:
        r, c = mine[i].use, theirs[j].use
        if r is not None and c is not None and r.input_vid >= 0 and c.input_vid >= 0:
            groups[(r.input_vid, c.input_vid)].append((i, j))
    result = list(chosen)
    for group in groups.values():
        if not 2 <= len(group) <= 6:
            continue
        rows, columns = [i for i, _ in group], [j for _, j in group]
        likeness = np.array([[alike(mine[i].path, theirs[j].path) for j in columns] for i in rows])
        better = assign(-likeness)
        if sum(likeness[a, b] for a, b in better) > np.trace(likeness) + 0.1:
            result = [pair for pair in result if pair not in group] + [(rows[a], columns[b]) for a, b in better]
    return sorted(result)


def _confidence(mine: list[Node], theirs: list[Node], i: int, j: int) -> float:
    if len(mine) == len(theirs) == 1:
        return 0.99
    agreed = sum(a == b for a, b in zip(mine[i].labels, theirs[j].labels, strict=False)) / 4
    return round(0.7 + 0.25 * agreed, 3)


def _pair_nodes(r: Node, c: Node, mapping: Mapping, how: str, confidence: float) -> None:
    mapping.nodes.append(NodePair([r.path], [c.path], how, confidence))
    roles = {role_of(role): p for role, p in r.parameters.items()}
    left = dict(r.parameters)
    for role, parameter in c.parameters.items():
        same = roles.get(role_of(role))
        options = [same] if same is not None and _transform(same, parameter) else []
        options += [p for p in left.values() if p.buffer == parameter.buffer and _transform(p, parameter)]
        chosen = next((p for p in options if any(p is q for q in left.values())), None)
        if chosen is not None:
            key = next(k for k, v in left.items() if v is chosen)
            del left[key]
            _add(mapping, chosen, parameter, how, confidence)


def _add(mapping: Mapping, r: ParameterInfo, c: ParameterInfo, how: str, confidence: float) -> None:
    if not any(pair.candidate == c.name for pair in mapping.pairs):
        transform = _transform(r, c)
        assert transform is not None
        mapping.pairs.append(Pair(c.name, r.name, transform, how, confidence))


def _transform(r: ParameterInfo, c: ParameterInfo) -> str | None:
    if r.shape == c.shape:
        return "same"
    if squeezed(r.shape) == squeezed(c.shape):
        return "reshape"
    if len(squeezed(r.shape)) == 2 and squeezed(r.shape)[::-1] == squeezed(c.shape):
        return "transpose"
    return None


def _siblings(nodes: list[Node]) -> list[list[Node]]:
    """Groups of nodes that look like the parts of one fused projection: used close together, same parent and shapes."""
    groups: dict[Any, list[Node]] = defaultdict(list)
    for node in nodes:
        if (len(node.signature) and len(node.signature[-1]) == 2) or node.kind == "linear":
            groups[(node.path.rpartition(".")[0], node.signature)].append(node)
    found = []
    for group in groups.values():
        named = {projection_of(n.path): n for n in group}
        if all(letter in named for letter in "qkv"):
            found.append([named[letter] for letter in "qkv"])
            continue
        for size in (3, 2):
            same: dict[int, list[Node]] = defaultdict(list)
            for node in group:
                if node.use is not None:
                    same[node.use.input_vid].append(node)
            found += [nodes for nodes in same.values() if len(nodes) == size]
    return found + _uneven(nodes)


def _uneven(nodes: list[Node]) -> list[list[Node]]:
    """Groups of linear layers of different width that read one tensor in one parent: a query beside keys and values."""
    groups: dict[Any, list[Node]] = defaultdict(list)
    for node in nodes:
        weight = _weight(node)
        if node.kind == "linear" and weight is not None and node.use is not None and node.use.input_vid >= 0:
            roles = tuple(sorted(role_of(role) for role in node.parameters))
            groups[(node.path.rpartition(".")[0], node.use.input_vid, weight.shape[-1], roles)].append(node)
    return [g for g in groups.values() if 2 <= len(g) <= 3 and len({n.signature for n in g}) > 1]


def _weight(node: Node) -> ParameterInfo | None:
    matrices = [p for p in node.parameters.values() if len(squeezed(p.shape)) == 2 and not p.buffer]
    return matrices[0] if matrices else None


def _fused(whole: list[Node], split: list[Node], mapping: Mapping, taken: set[str], *, swapped: bool) -> None:
    """Pairs one fused node of `whole` with several of `split`; `swapped` tells that `whole` is the candidate."""
    sides = ("1", "0") if swapped else ("0", "1")
    groups = [g for g in _siblings(split) if not any(f"{sides[1]}:{n.path}" in taken for n in g)]
    options: dict[Any, tuple[list[Node], list[list[Node]]]] = defaultdict(lambda: ([], []))
    own = {n.signature for n in split}
    for group in groups:
        weights = [w for w in map(_weight, group) if w is not None]
        if weights:
            rows = sum(weight.shape[0] for weight in weights)
            options[(rows, weights[0].shape[-1], len(group))][1].append(group)
    for node in whole:
        weight = _weight(node)
        if weight is None or (
            node.signature in own
            and sum(n.signature == node.signature for n in split) >= sum(n.signature == node.signature for n in whole)
        ):
            continue
        for size in (3, 2):
            key = (weight.shape[0], weight.shape[-1], size)
            if key in options:
                options[key][0].append(node)
                break
    for nodes, found in options.values():
        nodes.sort(key=lambda n: n.order)
        found.sort(key=lambda g: min(n.order for n in g))
        cost = np.array([[_unlike(n, g, len(whole), len(split)) for g in found] for n in nodes])
        for i, j in assign(cost) if nodes and found else []:
            _pair_fused(nodes[i], found[j], mapping, taken, swapped)


_ATTENTION_WORDS = {"attn", "attention", "attend", "qkv", "mha", "proj", "atten"}


def _unlike(whole: Node, parts: list[Node], wholes: int, splits: int) -> float:
    """How little a fused layer and the parts of a split one look alike: by place in the models and names."""
    place = abs(whole.rank / max(1, wholes - 1) - min(p.rank for p in parts) / max(1, splits - 1))
    attends = bool(_ATTENTION_WORDS & set(words_in(whole.path)))
    named = all(projection_of(p.path) for p in parts)
    return 4 * place + (1 - alike(whole.path, parts[0].path)) + (1.0 if named and not attends else 0.0)


def _pair_fused(whole: Node, parts: list[Node], mapping: Mapping, taken: set[str], swapped: bool) -> None:
    sides = ("1", "0") if swapped else ("0", "1")
    letters = [projection_of(p.path) for p in parts]
    ordered = sorted(
        parts, key=lambda p: _ATTENTION.get(projection_of(p.path) or "", 0) if None not in letters else p.order
    )
    taken.add(f"{sides[0]}:{whole.path}")
    taken.update(f"{sides[1]}:{p.path}" for p in ordered)
    how = "fused projection by shapes and names" if None not in letters else "fused projection by shapes and order"
    confidence = 0.95 if None not in letters else 0.8
    names = [p.path for p in ordered]
    mapping.nodes.append(
        NodePair(names if swapped else [whole.path], [whole.path] if swapped else names, how, confidence)
    )
    wholes = {len(squeezed(p.shape)): p for p in whole.parameters.values() if not p.buffer}
    for rank, fused in wholes.items():
        smalls = [next((p for p in n.parameters.values() if len(squeezed(p.shape)) == rank), None) for n in ordered]
        if any(s is None for s in smalls) or sum(s.shape[0] for s in smalls if s) != fused.shape[0]:
            continue
        if swapped:
            mapping.pairs.append(Pair(fused.name, "", "parts", how, confidence, parts=[s.name for s in smalls if s]))
            continue
        start = 0
        for small in smalls:
            assert small is not None
            stop = start + small.shape[0]
            mapping.pairs.append(Pair(small.name, fused.name, "rows", how, confidence, start, stop))
            start = stop


def _leftovers(reference: list[Node], candidate: list[Node], mapping: Mapping) -> None:
    """Pairs single parameters whose owners could not be paired: by shape, then name and order."""
    done = {p.candidate for p in mapping.pairs}
    used = {p.reference for p in mapping.pairs} | {name for p in mapping.pairs for name in p.parts}
    left = [(n, p) for n in candidate for p in n.parameters.values() if p.name not in done]
    free = [(n, p) for n in reference for p in n.parameters.values() if p.name not in used]
    groups: dict[Any, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for node, parameter in {p.name: (n, p) for n, p in free}.values():
        groups[(_bag(parameter), parameter.buffer)][0].append((node, parameter))
    for node, parameter in {p.name: (n, p) for n, p in left}.values():
        groups[(_bag(parameter), parameter.buffer)][1].append((node, parameter))
    for mine, theirs in groups.values():
        if not mine or not theirs:
            continue
        cost = np.array(
            [
                [(1 - alike(r.name, c.name)) + 0.5 * (_role(r) != _role(c))
                 + abs(i / len(mine) - j / len(theirs)) + (5.0 if _transform(r, c) is None else 0.0)
                 for j, (_, c) in enumerate(theirs)]
                for i, (_, r) in enumerate(mine)
            ]
        )  # fmt: skip
        for i, j in assign(cost):
            (r_node, r), (c_node, c) = mine[i], theirs[j]
            transform = _transform(r, c)
            if transform is not None:
                mapping.pairs.append(Pair(c.name, r.name, transform, "shape and name", 0.6))
                if not any(c_node.path in n.candidate for n in mapping.nodes):
                    mapping.nodes.append(NodePair([r_node.path], [c_node.path], "a parameter of the same shape", 0.5))


def _role(parameter: ParameterInfo) -> str:
    return role_of(parameter.name.rpartition(".")[2])


def _bag(parameter: ParameterInfo) -> tuple[int, ...]:
    return tuple(sorted(squeezed(parameter.shape)))


def to_candidate(pair: Pair, arrays: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The reference's values as the candidate's parameter holds them.

    Args:
        pair: The correspondence.
        arrays: The reference's parameters by name.
        shape: The candidate's shape.
    """
    if pair.transform == "parts":
        joined: np.ndarray = np.concatenate([arrays[name] for name in pair.parts], axis=0)
        return joined.reshape(shape)
    values = arrays[pair.reference]
    if pair.transform == "rows":
        values = values[pair.start : pair.stop]
    if pair.transform == "transpose":
        values = values.reshape(squeezed(values.shape)).T
    return values.reshape(shape)


def to_reference(
    mapping: Mapping, values: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The candidate's parameters (or gradients) in the reference's names and layout; incomplete ones are left out.

    A reference parameter that the candidate holds more than once takes the first one.

    Args:
        mapping: The correspondence of all parameters.
        values: The candidate's arrays by name.
        shapes: The reference's shapes by name.
    """
    found: dict[str, np.ndarray] = {}
    rows: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for pair in mapping.pairs:
        if pair.candidate not in values:
            continue
        array = values[pair.candidate]
        if pair.transform == "parts":
            start = 0
            for name in pair.parts:
                extent = shapes[name][0]
                found.setdefault(name, array[start : start + extent].reshape(shapes[name]))
                start += extent
        elif pair.transform == "rows":
            rows[pair.reference][pair.start] = array.reshape(pair.stop - pair.start, -1)
        elif pair.reference in shapes:
            if pair.transform == "transpose":
                array = array.reshape(squeezed(array.shape)).T
            found.setdefault(pair.reference, array.reshape(shapes[pair.reference]))
    for name, parts in rows.items():
        whole = np.concatenate([parts[start] for start in sorted(parts)], axis=0)
        if name in shapes and whole.shape[0] == shapes[name][0]:
            found.setdefault(name, whole.reshape(shapes[name]))
    return found
