"""What a model keeps in plain Python is given back after a forward pass that leaves no trace."""

from __future__ import annotations

from collections import deque

from parity.capture.plain import kept


class Layer:
    def __init__(self) -> None:
        self.pointer = 0
        self.name = "queue"
        self.seen: list[object] = [1]
        self.recent: deque[int] = deque([1, 2], maxlen=2)
        self.by_name = {"a": 1}
        self._private = 0


def test_counters_and_containers_are_given_back() -> None:
    layer = Layer()
    seen = layer.seen
    with kept([layer]):
        layer.pointer += 8
        layer.seen.append(object())
        layer.recent.append(3)
        layer.by_name["b"] = 2
        layer._private = 1
    assert layer.pointer == 0
    assert layer.seen == [1] and layer.seen is seen
    assert list(layer.recent) == [1, 2]
    assert layer.by_name == {"a": 1}
    assert layer._private == 1


def test_containers_of_arrays_are_compared_by_identity() -> None:
    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    layer = Layer()
    first = Array()
    layer.seen = [first]
    with kept([layer]):
        layer.seen[0] = Array()
    assert layer.seen[0] is first
