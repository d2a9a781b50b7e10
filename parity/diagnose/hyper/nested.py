"""Where two nests of dicts and lists differ, as paths: `config['model']['depth']`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

_SHORT = 4
"""Items of a list that are seen at a glance."""


class Difference(NamedTuple):
    """One place inside both nests where the values differ."""

    keys: tuple[str | int, ...]
    reference: Any
    candidate: Any

    def path(self, name: str, *, attributes: bool = False) -> str:
        """The place as code.

        Args:
            name: What the script calls the nest.
            attributes: Its first level is made of attributes, as of parsed options.
        """
        first = f"{name}.{self.keys[0]}" if attributes and self.keys else name
        return first + "".join(f"[{key!r}]" for key in self.keys[1 if attributes else 0 :])


def differences(reference: Any, candidate: Any) -> list[Difference]:
    """Where both nests have a value and these differ, in the reference's order.

    Names that only one side has are no differences; lists of another length are one, as a whole. Numbers are compared
    within float32's rounding, whatever their types.
    """
    from deepdiff import DeepDiff  # takes a while to import

    told = DeepDiff(
        reference, candidate, view="tree", ignore_numeric_type_changes=True, threshold_to_diff_deeper=0
    )  # fmt: skip
    found: dict[tuple[str | int, ...], Difference] = {}
    for kind in ("values_changed", "type_changes"):
        for level in told.get(kind, ()):
            if not _close(level.t1, level.t2):
                keys = tuple(level.path(output_format="list"))
                found[keys] = Difference(keys, level.t1, level.t2)
    for kind in ("iterable_item_added", "iterable_item_removed"):
        for level in told.get(kind, ()):
            keys = tuple(level.up.path(output_format="list"))
            found[keys] = Difference(keys, level.up.t1, level.up.t2)
    lists = [d.keys for d in found.values() if isinstance(d.reference, list) and isinstance(d.candidate, list)]
    whole = [d for d in found.values() if not any(d.keys != k and d.keys[: len(k)] == k for k in lists)]
    places = {keys: number for number, keys in enumerate(_every(reference))}
    return sorted(whole, key=lambda d: places.get(d.keys, len(places)))


def place_inside(name: str | None, reference: Any, candidate: Any) -> str:
    """Where two long or nested values first differ, in words; empty for numbers, texts and short lists of them."""
    nests = [v for v in (reference, candidate) if isinstance(v, (dict, list))]
    deep = any(isinstance(v, dict) or len(v) > _SHORT or any(isinstance(i, (dict, list)) for i in v) for v in nests)
    if len(nests) < 2 or not deep:
        return ""
    found = differences(reference, candidate)
    if not found or not found[0].keys:
        return ""
    return f"; first at {found[0].path(name or '')}: {found[0].candidate!r} != {found[0].reference!r}"


def _close(one: Any, other: Any) -> bool:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (one, other))
    return numbers and math.isclose(one, other, rel_tol=1e-6)


def _every(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of a nest, each before those below it."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [above, *(place for key, held in items for place in _every(held, (*above, key)))]
