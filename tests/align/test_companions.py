"""Companions of two runs are paired by shapes and names, their parameters as those of the models that they copy."""

from __future__ import annotations

from parity.align.companions import copied_from, counterpart, mapped, mapped_as_copies
from parity.align.parameters import Pair
from parity.model import CompanionInfo, ParameterInfo


def held(name: str, *shape: int, buffer: bool = False) -> ParameterInfo:
    owner, _, role = name.rpartition(".")
    return ParameterInfo(name, owner, role, shape, "float32", not buffer, buffer, [name])


def companion(name: str, *shapes: tuple[int, ...]) -> CompanionInfo:
    return CompanionInfo(
        name, "Net", parameters=[held(f"{name}.l{n}.weight", *shape) for n, shape in enumerate(shapes)]
    )


def test_of_several_with_the_same_shapes_the_name_decides() -> None:
    others = [
        companion("critic1_target", (4, 2)),
        companion("critic2_target", (4, 2)),
        companion("actor_target", (3, 2)),
    ]
    assert counterpart(companion("target_critic2", (4, 2)), others) is others[1]
    assert counterpart(companion("policy_target", (3, 2)), others) is others[2]
    assert counterpart(companion("teacher", (9, 9)), others) is None


def test_a_correspondence_is_certain_where_no_two_layers_look_alike() -> None:
    mapping, certain = mapped(companion("target", (4, 2), (3, 4)), companion("slow", (4, 2), (3, 4)))
    assert certain
    assert {pair.candidate: pair.reference for pair in mapping.pairs} == {
        "slow.l0.weight": "target.l0.weight",
        "slow.l1.weight": "target.l1.weight",
    }
    _, certain = mapped(companion("target", (4, 4), (4, 4)), companion("slow", (4, 4), (4, 4)))
    assert not certain


def test_a_copy_is_told_by_relative_names_and_shapes() -> None:
    model = [held("actor.l0.weight", 4, 2), held("critic.l0.weight", 4, 6), held("critic.l1.weight", 1, 4)]
    assert copied_from(companion("critic_target", (4, 6), (1, 4)), model) == {
        "critic_target.l0.weight": "critic.l0.weight",
        "critic_target.l1.weight": "critic.l1.weight",
    }
    assert copied_from(companion("critic_target", (4, 6), (2, 4)), model) is None


def test_copies_correspond_as_the_models_do() -> None:
    mine = [held("a.l0.weight", 4, 4), held("a.l1.weight", 4, 4)]
    theirs = [held("l0.weight", 4, 4), held("l1.weight", 4, 4)]
    crossed = [
        Pair("l0.weight", "a.l1.weight", "same", "pinned", 1.0),
        Pair("l1.weight", "a.l0.weight", "same", "pinned", 1.0),
    ]
    target, slow = companion("target", (4, 4), (4, 4)), companion("slow", (4, 4), (4, 4))
    found = mapped_as_copies(target, slow, (mine, theirs), crossed)
    assert found is not None
    assert {pair.candidate: pair.reference for pair in found.pairs} == {
        "slow.l0.weight": "target.l1.weight",
        "slow.l1.weight": "target.l0.weight",
    }
    assert mapped_as_copies(target, slow, (mine, theirs), crossed[:1]) is None
