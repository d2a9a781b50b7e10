"""Where two nests of settings differ."""

from __future__ import annotations

from typing import Any

import pytest

from parity.diagnose.hyper.nested import differences, place_inside

CONFIG = {"model": {"depth": 6, "rates": [0.1, 0.2]}, "lr": 0.1, "name": "small", "ema": None}


def changed(**parts: Any) -> dict[str, Any]:
    return {**CONFIG, **parts}


def told(candidate: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(d.path("config"), d.reference, d.candidate) for d in differences(CONFIG, candidate)]


def test_a_path_inside() -> None:
    model = {"depth": 12, "rates": [0.1, 0.3]}
    assert told(changed(model=model)) == [
        ("config['model']['depth']", 6, 12),
        ("config['model']['rates'][1]", 0.2, 0.3),
    ]


def test_the_order_is_the_references() -> None:
    assert [path for path, *_ in told({"name": "large", "lr": 0.2})] == ["config['lr']", "config['name']"]


@pytest.mark.parametrize(
    "candidate",
    [
        CONFIG,
        {"model": {"depth": 6.0}, "more": 1},
        changed(lr=0.1 + 1e-9, platform="cpu"),
        {},
    ],
)
def test_names_on_one_side_and_rounding_are_nothing(candidate: dict[str, Any]) -> None:
    assert told(candidate) == []


def test_lists_of_another_length_differ_as_a_whole() -> None:
    model = {"depth": 6, "rates": [0.3, 0.2, 0.1]}
    assert told(changed(model=model)) == [("config['model']['rates']", [0.1, 0.2], [0.3, 0.2, 0.1])]


def test_another_type() -> None:
    assert told(changed(ema=0.9)) == [("config['ema']", None, 0.9)]
    assert told(changed(lr="0.1")) == [("config['lr']", 0.1, "0.1")]


def test_options_are_attributes() -> None:
    (difference,) = differences({"model": {"depth": 6}}, {"model": {"depth": 7}})
    assert difference.path("args", attributes=True) == "args.model['depth']"


def test_in_words() -> None:
    assert place_inside("sizes", [1, 2], [1, 3]) == ""
    assert place_inside("sizes", [1, 2, 3, 4, 5], [1, 2, 3, 4, 6]) == "; first at sizes[4]: 6 != 5"
    assert place_inside("config", {"a": {"b": 1}}, {"a": {"b": 2}}) == "; first at config['a']['b']: 2 != 1"
    assert place_inside("config", {"a": 1}, {"c": 2}) == ""
