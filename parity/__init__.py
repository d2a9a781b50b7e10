"""Compares a training script with its migration to another framework: the first mismatching layer, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace import Trace

__all__ = ["__version__", "open_trace"]

__version__ = "0.1.0"


def open_trace(path: str | Path) -> Trace:
    """Opens a trace for reading.

    Args:
        path: A `NAME.trace` or `NAME.trace.partial` folder.

    Raises:
        TraceError: No trace, another schema, or records that cannot be decoded.
    """
    from parity.trace import Trace  # NumPy is loaded on first use, not by `import parity`

    return Trace(path)
