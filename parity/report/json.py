"""The comparison as the JSON document that programs read."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from parity.document import Comparison
from parity.errors import ParityError

_ORDER = (
    "schema", "verdict", "headline", "first", "findings", "stages", "unaligned", "reference", "candidate",
)  # fmt: skip


def document(comparison: Comparison, *, details: bool = False) -> dict[str, Any]:
    """The document of a comparison, its keys in their documented order; NaN and Inf become null.

    Args:
        comparison: The finished comparison.
        details: Keep what only parity reads again (scores, timings).
    """
    plain = _finite(msgspec.to_builtins(comparison, str_keys=True, enc_hook=_foreign))
    return {key: plain[key] for key in (*_ORDER, *(["details"] if details else []))}


def error_document(error: ParityError) -> dict[str, Any]:
    """The document of a comparison that came to no verdict."""
    return {
        "schema": 1,
        "verdict": "error",
        "error": {"slug": error.slug, "message": error.message, "side": error.side, "hint": error.hint},
    }


def dumps(plain: Any) -> str:
    """JSON text that any terminal and any encoding can take, ended by a newline."""
    return json.dumps(plain, indent=2, allow_nan=False) + "\n"


def _foreign(value: Any) -> Any:
    """What NumPy or a framework left in a value: a scalar as a number, anything else as its `repr`."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) and getattr(value, "size", 1) == 1 else None
    return plain if isinstance(plain, (bool, int, float, str)) else repr(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(held) for held in value]
    return value
