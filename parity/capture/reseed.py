"""Other seeds for a script that seeds itself: each seeding call gets a number made of its own and the run's."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import numpy as np

Place = tuple[Any, str]
"""A module, and the name in it of a seeding function or of a class of generators."""

_PLACES: list[Place] = [
    (random, "seed"),
    *((np.random, name) for name in ("seed", "default_rng", "RandomState", "PCG64", "PCG64DXSM", "MT19937", "Philox")),
]
_SEEDS = (int, str, bytes, float, type(None), np.integer, list, tuple, np.ndarray)
"""What is a seed; a generator that is handed on, for one, is none."""


@contextmanager
def other_seeds(number: int, places: list[Place]) -> Iterator[None]:
    """In here Python's, NumPy's and the frameworks' generators start from other seeds than the script names.

    Args:
        number: Which other seeds: the same number gives the same ones.
        places: Where the frameworks' seeding functions and classes of generators are found.
    """
    kept = [(holder, name, getattr(holder, name)) for holder, name in [*_PLACES, *places] if hasattr(holder, name)]

    def moved(seed: Any = None) -> Any:
        if not isinstance(seed, _SEEDS):
            return seed
        text = f"{number} {seed.tolist() if isinstance(seed, np.ndarray) else seed!r}"
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") >> 1

    try:
        for holder, name, original in kept:
            make = _class if isinstance(original, type) else _function
            setattr(holder, name, make(original, moved))
        yield
    finally:
        for holder, name, original in kept:
            setattr(holder, name, original)


def _function(original: Any, moved: Callable[..., Any]) -> Any:
    @functools.wraps(original)
    def seeded(*args: Any, **kwargs: Any) -> Any:
        if kwargs and not args:
            first, *rest = kwargs
            return original(**{first: moved(kwargs[first]), **{name: kwargs[name] for name in rest}})
        return original(moved(*args[:1]), *args[1:], **kwargs)

    return seeded


def _class(original: Any, moved: Callable[..., Any]) -> Any:
    """A subclass whose objects take other seeds; objects of the original class count as its own."""

    class Meta(type(original)):  # type: ignore[misc]
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, original)

    class Seeded(original, metaclass=Meta):  # type: ignore[misc]
        if hasattr(original, "manual_seed"):

            def manual_seed(self, seed: Any) -> Any:
                return super().manual_seed(moved(seed))

        else:

            def __init__(self, seed: Any = None) -> None:
                super().__init__(moved(seed))

    Seeded.__name__ = Seeded.__qualname__ = original.__name__
    return Seeded
