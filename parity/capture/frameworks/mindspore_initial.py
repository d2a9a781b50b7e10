"""Where MindSpore parameters got their values: initializers and NumPy's draws, known again by what they made.

MindSpore's recurrent layers, and many scripts, fill parameters from `numpy.random`. Values are known again through
copies, `set_data` and `assign`, through another shape, and where they were scaled, shifted or padded with zeros.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import mindspore
import numpy as np
from mindspore import Tensor
from mindspore.common import initializer

from parity.capture.frameworks.base import Origin
from parity.digest import digest_of
from parity.sample import spread

NUMPY = ("uniform", "normal", "randn", "rand", "standard_normal", "random_sample", "random")
"""The functions of `numpy.random` that make initial values."""

OPS = ("randn", "rand", "normal", "uniform", "standard_normal")
"""Those of `mindspore.ops`."""

_CONSTANT = (initializer.Zero, initializer.One, initializer.Constant, initializer.Identity, initializer.Dirac)
_FEW = 256
"""Elements by which values are known again."""

_LEAST = 8
"""Fewer elements are known again only where they are equal."""

_CALLS = 20000
"""Calls that are remembered at most: more come from data, not from parameters."""


class _Fill(NamedTuple):
    """One call that made random values, and some of them (float64); `make` is None where it cannot be repeated."""

    make: Callable[[], np.ndarray] | None
    law: str
    shape: tuple[int, ...]
    some: np.ndarray
    file: str | None
    line: int | None


class Fills:
    """Remembers what each call made, until the model is known.

    Args:
        here: Tells file and line in the script's own files.
    """

    def __init__(self, here: Callable[[], tuple[str | None, int | None]]) -> None:
        self.here = here
        self.following = True
        self._fills: dict[int, list[_Fill]] = defaultdict(list)
        self._exact: dict[str, _Fill] = {}
        self._call = initializer.Initializer.__call__
        self._loaded: dict[int, Any] = {}
        self._set: dict[int, tuple[Any, str | None, int | None]] = {}
        self._calls = 0

    def start(self) -> None:
        """Begins anew, for another run in the same process."""
        self.following = True
        self._fills.clear()
        self._exact.clear()
        self._loaded.clear()
        self._set.clear()
        self._calls = 0

    def called(self, this: Any, array: Any) -> Any:
        """Fills an array as the initializer does, and remembers it."""
        result = self._call(this, array)
        if isinstance(array, np.ndarray) and not isinstance(this, _CONSTANT):
            settings = {k: v for k, v in vars(this).items() if not k.startswith("_") and v is not None}
            law = f"{type(this).__name__}({', '.join(f'{k}={v!r}' for k, v in settings.items())})"
            shape, dtype = array.shape, array.dtype

            def make() -> np.ndarray:
                fresh = np.zeros(shape, dtype)
                self._call(this, fresh)
                return fresh

            self._remember(array, law, make)
        return result

    def numpy(self, function: Any) -> Any:
        """A function of `numpy.random` that remembers what it made."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if isinstance(result, np.ndarray):
                plain = ", ".join(f"{a:.6g}" for a in args if isinstance(a, (int, float)))
                scaled = function.__name__ in ("uniform", "normal") and not set(kwargs) - {"size"}
                law = f"numpy.random.{function.__name__}" + (f"({plain})" if scaled else "")
                self._remember(result, law, lambda: function(*args, **kwargs))
            return result

        return wrapped

    def ops(self, function: Any) -> Any:
        """A random function of `mindspore.ops`; it is not called again, for its generator cannot be put back."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if self.following and isinstance(result, Tensor) and result.dtype == mindspore.float32:
                self._remember(result.asnumpy(), f"ops.{function.__name__}", None)
            return result

        return wrapped

    def setter(self, function: Any) -> Any:
        """`Parameter.set_data`; the line that called it last is remembered."""

        @functools.wraps(function)
        def wrapped(parameter: Any, *args: Any, **kwargs: Any) -> Any:
            if self.following and len(self._set) < _CALLS:
                self._set[id(parameter)] = (parameter, *self.here())
            return function(parameter, *args, **kwargs)

        return wrapped

    def _remember(self, array: np.ndarray, law: str, make: Callable[[], np.ndarray] | None) -> None:
        if not self.following or self._calls >= _CALLS or array.size == 0:
            return
        self._calls += 1
        fill = _Fill(make, law, array.shape, _some(array), *self.here())
        self._fills[array.size].append(fill)
        self._exact[digest_of(array.reshape(-1), array.dtype.name)] = fill

    def loaded(self, parameters: list[Any]) -> None:
        """These parameters were filled from a checkpoint."""
        self._loaded.update({id(p): p for p in parameters})

    def origin(self, parameter: Any, values: np.ndarray) -> Origin | None:
        """Where a parameter's values came from, None where nothing was seen of it."""
        fill = self._exact.get(digest_of(values.reshape(-1), values.dtype.name))
        scale, shift, zero = 1.0, 0.0, np.zeros(0, bool)
        if fill is None:
            some = _some(values)
            for known in reversed(self._fills.get(values.size, [])):
                line = _line(known.some, some)
                if line is not None:
                    fill, (scale, shift) = known, line
                    zero = values.reshape(-1) == 0
                    break
        if fill is None:
            if id(parameter) in self._loaded:
                return Origin(loaded=True)
            given = self._set.get(id(parameter))
            return Origin(file=given[1], line=given[2]) if given is not None else None
        law = fill.law + (f" * {scale:.6g}" if scale != 1 else "") + (f" + {shift:.6g}" if shift else "")
        make = fill.make
        if make is None:
            return Origin((law, id(fill)), None, law, fill.file, fill.line)
        key: Hashable = (law, fill.shape, zero.tobytes() if zero.any() else b"")

        def draw() -> np.ndarray:
            fresh: np.ndarray = make().reshape(-1) * scale + shift
            if zero.any():
                fresh[zero] = 0
            return fresh

        return Origin(key, draw, law, fill.file, fill.line)

    @contextmanager
    def again(self) -> Iterator[None]:
        """What is called in here leaves the random generator as it was: all take their seeds from NumPy's.

        From then on nothing more is remembered."""
        self.following = False
        state = np.random.get_state()
        try:
            yield
        finally:
            np.random.set_state(state)


def _some(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1)[spread(array.size, min(array.size, _FEW))].astype(np.float64)


def _line(made: np.ndarray, held: np.ndarray) -> tuple[float, float] | None:
    """Scale and shift by which values follow from others, apart from zeros; None where they do not."""
    kept = held != 0
    if made.size < _LEAST or kept.sum() < max(_LEAST, made.size / 2):
        return (1.0, 0.0) if np.allclose(made, held, rtol=1e-6, atol=0) else None
    x, y = made[kept], held[kept]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    scale = float(np.mean((x - x.mean()) * (y - y.mean()))) / float(np.var(x))
    shift = float(y.mean()) - scale * float(x.mean())
    if float(np.max(np.abs(y - scale * x - shift))) > 1e-4 * float(np.ptp(y)):
        return None
    scale = 1.0 if abs(scale - 1) < 1e-6 else scale
    return scale, 0.0 if abs(shift) < 1e-6 * float(y.std()) else shift
