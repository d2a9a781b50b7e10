"""Which parameter is which: hand-made records of two models, and the way of the values there and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from parity.align.nodes import build_nodes, kind_of, role_of
from parity.align.parameters import Mapping, map_parameters, to_candidate, to_reference
from parity.model import CallEvent, Item, OpEvent, ParameterInfo, TensorRef

REF = TensorRef("0" * 32, "float32", (2, 8))


class Layer(NamedTuple):
    """One layer of a model: what it holds, the identities that it reads, the one that it makes."""

    path: str
    type: str
    shapes: dict[str, tuple[int, ...]]
    inputs: list[int]
    output: int


def dense(path: str, rows: int, columns: int, inputs: int | list[int], output: int, *, kind: str = "Linear") -> Layer:
    read = inputs if isinstance(inputs, list) else [inputs]
    return Layer(path, kind, {"weight": (rows, columns), "bias": (rows,)}, read, output)


def parameters_of(layers: list[Layer], tied: dict[str, str]) -> list[ParameterInfo]:
    found: dict[str, ParameterInfo] = {}
    for layer in layers:
        for role, shape in layer.shapes.items():
            name = f"{layer.path}.{role}"
            if name in tied:
                found[tied[name]].names.append(name)
                continue
            buffer = role.startswith(("running", "moving"))
            found[name] = ParameterInfo(name, layer.path, role, shape, "float32", not buffer, buffer, [name])
    return list(found.values())


def nodes_of(layers: list[Layer], tied: dict[str, str] | None = None) -> tuple[list[Any], list[ParameterInfo]]:
    """Nodes and parameters of layers that are called in the order given."""
    tied = tied or {}
    parameters = parameters_of(layers, tied)
    calls, ops = [], []
    for number, layer in enumerate(layers):
        start = 10 * number
        read = [Item(str(i), vid, REF) for i, vid in enumerate(layer.inputs)]
        made = [Item("", layer.output, REF)]
        calls.append(CallEvent(start, 0, "train", layer.path, number, 0, start + 9, None, True, read, made))
        names = [tied.get(f"{layer.path}.{role}", f"{layer.path}.{role}") for role in layer.shapes]
        shapes = [REF.shape for _ in layer.inputs]
        ops.append(
            OpEvent(start + 1, 0, "train", "op", start, layer.path, None, None, layer.inputs, shapes, names, made)
        )
    return build_nodes(parameters, {layer.path: layer.type for layer in layers}, calls, ops), parameters


def mapped(
    reference: list[Layer],
    candidate: list[Layer],
    tied: dict[str, str] | None = None,
    other_tied: dict[str, str] | None = None,
) -> tuple[Mapping, list[ParameterInfo], list[ParameterInfo]]:
    mine, parameters = nodes_of(reference, tied)
    theirs, others = nodes_of(candidate, other_tied)
    return map_parameters(mine, theirs), parameters, others


def pairs(mapping: Mapping) -> dict[str, str]:
    return {pair.candidate: pair.reference for pair in mapping.pairs}


def there_and_back(mapping: Mapping, reference: list[ParameterInfo], candidate: list[ParameterInfo]) -> dict[str, Any]:
    """The reference's arrays after a way to the candidate and back; asserts that they are as before."""
    generator = np.random.default_rng(0)
    arrays = {p.name: generator.normal(size=p.shape) for p in reference}
    shapes = {p.name: p.shape for p in candidate}
    theirs = {pair.candidate: to_candidate(pair, arrays, shapes[pair.candidate]) for pair in mapping.pairs}
    for name, values in theirs.items():
        assert values.shape == shapes[name]
    back = to_reference(mapping, theirs, {p.name: p.shape for p in reference})
    for name, values in back.items():
        assert np.array_equal(values, arrays[name]), name
    return back


class TestVocabulary:
    @pytest.mark.parametrize(
        ("name", "role"),
        [("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean"), ("moving_variance", "running_var")],
    )
    def test_roles(self, name: str, role: str) -> None:
        assert role_of(name) == role_of(role) == role

    @pytest.mark.parametrize(
        ("mine", "theirs"),
        [("Linear", "Dense"), ("Conv2d", "Conv2d"), ("BatchNorm2d", "BatchNorm2d"), ("LayerNorm", "LayerNorm")],
    )
    def test_kinds(self, mine: str, theirs: str) -> None:
        assert kind_of(mine) == kind_of(theirs) != "other"

    def test_unknown_kind(self) -> None:
        assert kind_of("Frobnicator") == "other"


class TestNames:
    def test_renamed_paths_go_by_order(self) -> None:
        reference = [dense(f"layers.{i}.fc", 8, 8, i, i + 1) for i in range(3)]
        candidate = [dense(p, 8, 8, i, i + 1, kind="Dense") for i, p in enumerate(["zeta", "alpha", "mid"])]
        mapping, mine, theirs = mapped(reference, candidate)
        assert pairs(mapping) == {
            "zeta.weight": "layers.0.fc.weight", "zeta.bias": "layers.0.fc.bias",
            "alpha.weight": "layers.1.fc.weight", "alpha.bias": "layers.1.fc.bias",
            "mid.weight": "layers.2.fc.weight", "mid.bias": "layers.2.fc.bias",
        }  # fmt: skip
        assert {pair.transform for pair in mapping.pairs} == {"same"}
        assert len(there_and_back(mapping, mine, theirs)) == 6

    def test_roles_have_other_names(self) -> None:
        shape = (4,)
        reference = [
            Layer("bn", "BatchNorm2d", {"weight": shape, "bias": shape, "running_mean": shape, "running_var": shape},
                  [0], 1)
        ]  # fmt: skip
        candidate = [
            Layer("norm", "BatchNorm2d",
                  {"moving_mean": shape, "moving_variance": shape, "beta": shape, "gamma": shape}, [0], 1)
        ]  # fmt: skip
        mapping, _, _ = mapped(reference, candidate)
        assert pairs(mapping) == {
            "norm.gamma": "bn.weight", "norm.beta": "bn.bias",
            "norm.moving_mean": "bn.running_mean", "norm.moving_variance": "bn.running_var",
        }  # fmt: skip


class TestOrder:
    def test_branches_called_in_another_order(self) -> None:
        reference = [
            dense("p", 8, 8, 0, 1), dense("p2", 4, 8, 1, 2), dense("q", 8, 8, 0, 3), dense("q2", 5, 8, 3, 4),
        ]  # fmt: skip
        candidate = [
            dense("one", 8, 8, 0, 1), dense("two", 5, 8, 1, 2), dense("three", 8, 8, 0, 3), dense("four", 4, 8, 3, 4),
        ]  # fmt: skip
        mapping, mine, theirs = mapped(reference, candidate)
        found = pairs(mapping)
        assert found["one.weight"] == "q.weight"
        assert found["three.weight"] == "p.weight"
        assert found["two.weight"] == "q2.weight"
        assert found["four.weight"] == "p2.weight"
        assert len(there_and_back(mapping, mine, theirs)) == 8

    def test_defined_in_another_order_but_called_in_the_same(self) -> None:
        reference = [dense("a", 8, 8, 0, 1), dense("b", 8, 8, 1, 2)]
        mine, _ = nodes_of(reference)
        theirs, _ = nodes_of(reference)
        mapping = map_parameters(mine, sorted(theirs, key=lambda node: node.order))
        assert pairs(mapping)["a.weight"] == "a.weight"
        assert pairs(mapping)["b.weight"] == "b.weight"


class TestFused:
    SPLIT = [
        dense("attn.k_proj", 8, 8, 0, 2), dense("attn.q_proj", 8, 8, 0, 1), dense("attn.v_proj", 8, 8, 0, 3),
        dense("attn.out", 8, 8, [1, 2, 3], 4),
    ]  # fmt: skip
    WHOLE = [dense("attn.qkv", 24, 8, 0, 1), dense("attn.proj", 8, 8, 1, 4)]

    def test_reference_is_fused(self) -> None:
        mapping, mine, theirs = mapped(self.WHOLE, self.SPLIT)
        found = {p.candidate: (p.reference, p.transform, p.start, p.stop) for p in mapping.pairs}
        assert found["attn.q_proj.weight"] == ("attn.qkv.weight", "rows", 0, 8)
        assert found["attn.k_proj.weight"] == ("attn.qkv.weight", "rows", 8, 16)
        assert found["attn.v_proj.bias"] == ("attn.qkv.bias", "rows", 16, 24)
        assert found["attn.out.weight"][:2] == ("attn.proj.weight", "same")
        assert set(there_and_back(mapping, mine, theirs)) == {p.name for p in mine}

    def test_candidate_is_fused(self) -> None:
        mapping, mine, theirs = mapped(self.SPLIT, self.WHOLE)
        (weight,) = [p for p in mapping.pairs if p.candidate == "attn.qkv.weight"]
        assert weight.transform == "parts"
        assert weight.parts == ["attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight"]
        assert pairs(mapping)["attn.proj.weight"] == "attn.out.weight"
        assert set(there_and_back(mapping, mine, theirs)) == {p.name for p in mine}

    def test_a_query_beside_keys_and_values(self) -> None:
        uneven = [dense("attn.q", 8, 8, 0, 1), dense("attn.kv", 16, 8, 0, 2), dense("attn.out", 8, 8, [1, 2], 4)]
        mapping, mine, theirs = mapped(uneven, self.WHOLE)
        (weight,) = [p for p in mapping.pairs if p.candidate == "attn.qkv.weight"]
        assert (weight.transform, weight.parts) == ("parts", ["attn.q.weight", "attn.kv.weight"])
        assert pairs(mapping)["attn.proj.weight"] == "attn.out.weight"
        assert set(there_and_back(mapping, mine, theirs)) == {p.name for p in mine}

    def test_both_split_stays_split(self) -> None:
        mapping, _, _ = mapped(self.SPLIT, self.SPLIT)
        assert {p.transform for p in mapping.pairs} == {"same"}
        assert all(p.candidate == p.reference for p in mapping.pairs)

    def test_both_fused_stays_fused(self) -> None:
        mapping, _, _ = mapped(self.WHOLE, self.WHOLE)
        assert pairs(mapping) == {name: name for name in pairs(mapping)}
        assert len(mapping.pairs) == 4

    def test_rows_land_in_the_right_place(self) -> None:
        mapping, _, _ = mapped(self.WHOLE, self.SPLIT)
        values = np.repeat(np.arange(3.0), 8)[:, None] * np.ones((24, 8))
        arrays = {"attn.qkv.weight": values}
        for letter, number in (("q", 0.0), ("k", 1.0), ("v", 2.0)):
            (pair,) = [p for p in mapping.pairs if p.candidate == f"attn.{letter}_proj.weight"]
            assert np.array_equal(to_candidate(pair, arrays, (8, 8)), np.full((8, 8), number))

    def test_a_missing_part_leaves_the_whole_out(self) -> None:
        mapping, mine, _ = mapped(self.WHOLE, self.SPLIT)
        values = {"attn.q_proj.weight": np.ones((8, 8)), "attn.k_proj.weight": np.ones((8, 8))}
        assert to_reference(mapping, values, {p.name: p.shape for p in mine}) == {}


class TestShapes:
    def test_transposed_where_it_is_not_square(self) -> None:
        reference = [Layer("proj", "Conv1D", {"weight": (8, 24), "bias": (24,)}, [0], 1)]
        mapping, mine, theirs = mapped(reference, [dense("proj", 24, 8, 0, 1, kind="Dense")])
        assert {p.candidate: p.transform for p in mapping.pairs} == {"proj.weight": "transpose", "proj.bias": "same"}
        arrays = {"proj.weight": np.arange(192.0).reshape(8, 24)}
        laid = to_candidate(mapping.pairs[0], arrays, (24, 8))
        assert np.array_equal(laid, arrays["proj.weight"].T)
        assert len(there_and_back(mapping, mine, theirs)) == 2

    def test_convolution_over_one_axis(self) -> None:
        reference = [Layer("conv", "Conv1d", {"weight": (6, 3, 5), "bias": (6,)}, [0], 1)]
        candidate = [Layer("conv", "Conv1d", {"weight": (6, 3, 1, 5), "bias": (6,)}, [0], 1)]
        mapping, mine, theirs = mapped(reference, candidate)
        assert {p.candidate: p.transform for p in mapping.pairs} == {"conv.weight": "reshape", "conv.bias": "same"}
        back = there_and_back(mapping, mine, theirs)
        assert back["conv.weight"].shape == (6, 3, 5)

    def test_pointwise_convolution_for_a_linear_layer(self) -> None:
        reference = [dense("head", 6, 4, 0, 1)]
        candidate = [Layer("head", "Conv2d", {"weight": (6, 4, 1, 1), "bias": (6,)}, [0], 1)]
        mapping, mine, theirs = mapped(reference, candidate)
        assert pairs(mapping) == {"head.weight": "head.weight", "head.bias": "head.bias"}
        assert len(there_and_back(mapping, mine, theirs)) == 2

    def test_other_shapes_are_not_paired(self) -> None:
        mapping, _, _ = mapped([dense("a", 8, 4, 0, 1)], [dense("a", 9, 5, 0, 1)])
        assert mapping.pairs == []
        assert mapping.nodes == []


class TestTied:
    BOTH = [
        Layer("embed", "Embedding", {"weight": (11, 8)}, [0], 1), dense("mid", 8, 8, 1, 2),
        Layer("head", "Linear", {"weight": (11, 8)}, [2], 3),
    ]  # fmt: skip

    def test_on_both_sides(self) -> None:
        tied = {"head.weight": "embed.weight"}
        mapping, mine, theirs = mapped(self.BOTH, self.BOTH, tied, tied)
        assert mine[0].names == ["embed.weight", "head.weight"]
        assert pairs(mapping) == {"embed.weight": "embed.weight", "mid.weight": "mid.weight", "mid.bias": "mid.bias"}
        assert len(there_and_back(mapping, mine, theirs)) == 3

    def test_in_the_reference_only(self) -> None:
        mapping, mine, theirs = mapped(self.BOTH, self.BOTH, {"head.weight": "embed.weight"})
        assert pairs(mapping)["embed.weight"] == "embed.weight"
        assert pairs(mapping)["head.weight"] == "embed.weight"
        assert len(there_and_back(mapping, mine, theirs)) == 3

    def test_two_copies_give_the_first_ones_values_back(self) -> None:
        mapping, mine, _ = mapped(self.BOTH, self.BOTH, {"head.weight": "embed.weight"})
        values = {"embed.weight": np.ones((11, 8)), "head.weight": np.zeros((11, 8))}
        found = to_reference(mapping, values, {p.name: p.shape for p in mine})
        first = next(p.candidate for p in mapping.pairs if p.reference == "embed.weight")
        assert np.array_equal(found["embed.weight"], values[first])


class TestUnequalCounts:
    @pytest.mark.parametrize(("mine", "theirs"), [(3, 2), (2, 3), (1, 4), (4, 1)])
    def test_the_shorter_side_is_paired_whole(self, mine: int, theirs: int) -> None:
        mapping, _, _ = mapped(
            [dense(f"layers.{i}", 8, 8, i, i + 1) for i in range(mine)],
            [dense(f"layers.{i}", 8, 8, i, i + 1) for i in range(theirs)],
        )
        weights = [p for p in mapping.pairs if p.candidate.endswith("weight")]
        assert len(weights) == min(mine, theirs)
        assert len({p.reference for p in weights}) == len(weights)

    def test_an_extra_layer_of_another_shape_takes_nothing(self) -> None:
        reference = [dense("a", 8, 4, 0, 1), dense("c", 3, 8, 1, 2)]
        candidate = [dense("a", 8, 4, 0, 1), dense("extra", 8, 8, 1, 2), dense("c", 3, 8, 2, 3)]
        mapping, mine, theirs = mapped(reference, candidate)
        assert pairs(mapping) == {
            "a.weight": "a.weight", "a.bias": "a.bias", "c.weight": "c.weight", "c.bias": "c.bias",
        }  # fmt: skip
        assert len(there_and_back(mapping, mine, theirs)) == 4

    def test_a_bias_that_only_the_reference_has(self) -> None:
        mapping, _, _ = mapped([dense("a", 8, 4, 0, 1)], [Layer("a", "Dense", {"weight": (8, 4)}, [0], 1)])
        assert pairs(mapping) == {"a.weight": "a.weight"}

    def test_nothing_on_one_side(self) -> None:
        mapping, _, _ = mapped([dense("a", 8, 4, 0, 1)], [])
        assert mapping.pairs == []
