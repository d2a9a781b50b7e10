"""Everything that both scripts declared, as text for a terminal."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.text import Text

from parity.document import Comparison, Listed, Value
from parity.report.terminal import safe

_MARKS = {True: "=", False: "!", None: "?"}
_STYLES = {True: "", False: "red", None: "dim"}


def render_declared(comparison: Comparison) -> Text:
    """The declared values of a comparison, in groups; without a final newline."""
    rows = _rows(comparison.details.get("declared"))
    if not rows:
        return Text("Declared: nothing was compared")
    legend = "= the same, ! differs, ? not compared"
    lines = [Text(f"Declared ({len(rows)} values, reference | candidate; {legend}):", style="bold")]
    of = None
    for row in rows:
        if row.of != of:
            lines.append(Text(f"  {safe(row.of)}"))
            of = row.of
        text = f"    {_MARKS[row.equal]} {safe(row.name)}: {_shown(row.reference)} | {_shown(row.candidate)}"
        lines.append(Text(text, style=_STYLES[row.equal]))
    return Text("\n").join(lines)


def _rows(plain: Any) -> list[Listed]:
    try:
        return msgspec.convert(plain or [], list[Listed])
    except msgspec.ValidationError:
        return []


def _shown(value: Value | None) -> str:
    return "none" if value is None else safe(f"{value.value!r} ({value.origin})")
