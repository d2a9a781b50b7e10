"""What a forced run measures, as records on disk: one place compared, and one op of the reference along the way."""

from __future__ import annotations

from pathlib import Path

import msgspec

from parity.errors import TraceError


class Measured(msgspec.Struct):
    """The candidate's value at one boundary against what the reference's own code makes there.

    All errors are absolute RMS distances.

    Attributes:
        error: The candidate's distance from the float64 value.
        single: The reference's own in float32.
        probe: That of the float64 run whose forced values were moved by a unit of rounding.
        terms: RMS of the sum of absolute terms, where a sum may cancel.
        scale: RMS of the float64 value.
        peak: Its largest magnitude.
        n: The longest reduction in the piece before the boundary.
        rough: Whether that piece holds a transcendental function.
        slack: What MindSpore's kernels are known to be off by there, absolute.
        unit: The candidate's unit of rounding there.
        tag: Identity of the value before it was forced; the ops behind it are found by it.
        forced: Identity after.
        cut: Whether the gradient was forced there too.
        factor: The candidate's value as a multiple of the reference's, by least squares.
        accumulated: Relative distance from the reference's own run.
    """

    step: int
    stage: str
    kind: str
    path: str
    call: int
    item: str
    candidate: str
    event: int
    error: float = 0.0
    single: float = 0.0
    probe: float = 0.0
    terms: float = 0.0
    scale: float = 0.0
    peak: float = 0.0
    rough: bool = False
    slack: float = 0.0
    n: int = 1
    unit: float = 2.0**-24
    tag: int = -1
    forced: int = -1
    cut: bool = False
    mismatch: str = ""
    shape: tuple[int, ...] = ()
    candidate_shape: tuple[int, ...] = ()
    factor: float | None = None
    worst: float = 0.0
    worst_index: tuple[int, ...] = ()
    accumulated: float | None = None
    order: int = 0
    alternatives: dict[str, float] = {}
    detail: str = ""


class ForcedOp(msgspec.Struct):
    """One op of the reference in the float64 pass, and the candidate's tensor that has its value.

    `best` is the smallest relative distance of any tensor that the candidate recorded in that step; `match` the event
    that made it, where the distance is within rounding; `moved` tells that only the order of the elements differs.
    """

    id: int
    step: int
    name: str
    path: str
    file: str | None
    line: int | None
    inputs: list[int]
    outputs: list[int]
    shape: tuple[int, ...]
    shapes: list[tuple[int, ...]]
    view: bool
    reduction: int
    best: float | None = None
    match: int = -1
    moved: bool = False
    floating: bool = True


class Forced(msgspec.Struct):
    """A forced run.

    Attributes:
        candidate_best: By step and content, the distance of a candidate's tensor to the nearest reference op.
        candidate_moved: Those that are the same only in another order of their elements.
        paired: Reference layers that were boundaries, and the candidate's layer there.
        scale: By step, the factor by which the candidate scales its loss on purpose.
        curves: Losses of the reference's runs with moved weights, each up to where it saturates.
        losses: The values that its backward passes started from.
    """

    measured: list[Measured] = []
    ops: list[ForcedOp] = []
    candidate_best: dict[str, dict[str, float]] = {}
    candidate_moved: dict[str, list[str]] = {}
    paired: dict[str, str] = {}
    notes: list[str] = []
    precision: str = "float64"
    steps: int = 0
    timings: dict[str, float] = {}
    scale: dict[str, float] = {}
    curves: list[list[float]] = []
    losses: list[int] = []


def write_forced(folder: Path, forced: Forced) -> None:
    """Writes a forced run to `folder/forced.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "forced.json").write_bytes(msgspec.json.encode(forced))


def read_forced(folder: Path) -> Forced:
    """Reads what `write_forced` wrote.

    Raises:
        TraceError: It cannot be decoded.
    """
    path = folder / "forced.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Forced)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise TraceError(f"{path} cannot be read: {error}", hint="compare again") from None
