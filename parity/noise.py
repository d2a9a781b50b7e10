"""What rounding does to a reference's own values: the noise that a trace carries for those who cannot run it again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from parity.errors import TraceError

Key = tuple[int, str, str, int, str]
"""Step, kind of value, path or parameter, call or backward pass or optimizer, place in the nest."""


class Noise(msgspec.Struct, array_like=True):
    """How far one value moves when everything before it is moved by a unit of rounding (absolute RMS).

    Attributes:
        kind: `output`, `gradient`, `loss`, `parameter-gradient`, `parameter` or `buffer`.
        noise: The largest of several passes.
        scale: RMS of the value itself.
    """

    step: int
    kind: str
    path: str
    call: int
    item: str
    noise: float
    scale: float


def write_noise(trace: Path, records: list[Noise]) -> None:
    """Adds `noise.json` to the folder of a trace."""
    (trace / "noise.json").write_bytes(msgspec.json.encode(records))


def read_noise(trace: Path) -> dict[Key, Noise] | None:
    """The noise by place; None where the trace carries none.

    Raises:
        TraceError: It cannot be decoded.
    """
    path = trace / "noise.json"
    if not path.is_file():
        return None
    try:
        records = msgspec.json.decode(path.read_bytes(), type=list[Noise])
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise TraceError(f"{path} cannot be read: {error}", hint="capture the reference again") from None
    return {(r.step, r.kind, r.path, r.call, r.item): r for r in records}
