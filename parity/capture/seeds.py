"""Where a script seeds NumPy, from whose generator MindSpore draws initial weights."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.capture.frameworks.base import Made
from parity.capture.session import Session


@contextmanager
def numpy_seeds(session: Session) -> Iterator[None]:
    """In here a call of `numpy.random.seed` by the script's own files is told, as `numpy-seed`."""
    seed = np.random.seed

    @functools.wraps(seed)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        file, line = session.source.caller()
        if file is not None:
            value = args[0] if args else kwargs.get("seed")
            plain = int(value) if isinstance(value, (int, np.integer)) else None
            session.declared("numpy-seed", "numpy.random.seed", Made(file, line, {"seed": plain}, ["seed"]))
        seed(*args, **kwargs)

    np.random.seed = wrapped
    try:
        yield
    finally:
        np.random.seed = seed
