"""One parameter on both sides: its own initial values, the distribution they came from, and both in one layout."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np

from parity.align.nodes import squeezed
from parity.diagnose.initial.distributions import Sample, difference, kind, sample_of
from parity.model import InitialEvent, LayerInfo, ParameterInfo
from parity.sample import spread
from parity.trace import Trace

_STALE = 1e-5
"""Own values that are less probable than this are judged by themselves: what was drawn again may be something else."""


_PLENTY = 8192
"""Values that tell a distribution by themselves; fewer are taken together with those of equal layers."""


class Part(NamedTuple):
    """A parameter of one side, or some rows of it.

    Attributes:
        info: The parameter.
        layer: The layer that owns it.
        own: Its initial values, any layout; read-only.
        drawn: Whether they were drawn at random.
        loaded: Whether they came from a checkpoint.
        values: Values of many draws, None where it was not seen how they were drawn.
        key: Equal for parts that share a distribution.
        law: What drew them, in the framework's words.
        file: The script's file that filled it.
        line: The line in it.
    """

    info: ParameterInfo
    layer: LayerInfo | None
    own: np.ndarray
    drawn: bool
    loaded: bool
    values: np.ndarray | None
    key: Hashable
    law: str
    file: str | None
    line: int | None

    @property
    def constant(self) -> float | None:
        """The one value that all elements have in every draw."""
        if self.own.size == 0:
            return None
        first = float(self.own.reshape(-1)[0])
        same = bool(np.all(self.own == first)) and (self.values is None or bool(np.all(self.values == first)))
        return first if same and not (self.drawn and self.values is None) else None

    @property
    def zero_rows(self) -> list[int]:
        """Rows of a table that are zero throughout."""
        if self.own.ndim != 2 or min(self.own.shape) < 2:
            return []
        return [int(i) for i in np.flatnonzero(~np.any(self.own, axis=1))]


class Pair(NamedTuple):
    """Two parts that correspond.

    Attributes:
        reference: The reference's part.
        candidate: The candidate's.
        transposed: Whether the candidate holds it transposed.
        confidence: How sure the alignment is.
    """

    reference: Part
    candidate: Part
    transposed: bool
    confidence: float


class Sides:
    """Both sides' parameters, and how they correspond.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace, with its mapping.
    """

    def __init__(self, reference: Trace, candidate: Trace) -> None:
        self.reference = _Side(reference)
        self.candidate = _Side(candidate)
        self.mapping: list[dict[str, Any]] = (candidate.meta.mapping or {}).get("pairs", [])

    def pairs(self) -> Iterator[Pair]:
        """Every pair of corresponding parts, in the order of the candidate's parameters."""
        order = {name: i for i, name in enumerate(self.candidate.infos)}
        for entry in sorted(self.mapping, key=lambda e: order.get(e["candidate"], len(order))):
            for mine, my_rows, their_rows in self._parts(entry):
                r = self.reference.part(mine, my_rows)
                c = self.candidate.part(entry["candidate"], their_rows)
                if r is not None and c is not None and r.own.size == c.own.size:
                    yield Pair(r, c, entry["transform"] == "transpose", float(entry["confidence"]))

    def _parts(self, entry: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        if entry["transform"] == "rows":
            yield entry["reference"], (entry["start"], entry["stop"]), None
        elif entry["transform"] == "parts":
            start = 0
            for name in entry["parts"]:
                info = self.reference.infos.get(name)
                if info is None or not info.shape:
                    return
                yield name, None, (start, start + info.shape[0])
                start += info.shape[0]
        else:
            yield entry["reference"], None, None


class _Side:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.infos = {name: p for p in trace.parameters for name in p.names}
        self.layers = {layer.path: layer for layer in reversed(trace.layers)}
        self.events = {e.name: e for e in trace.of(InitialEvent)}
        self.samples: dict[Hashable, np.ndarray | None] = {}

    def part(self, name: str, rows: tuple[int, int] | None) -> Part | None:
        info = self.infos.get(name)
        ref = info.own or info.ref if info is not None else None
        if info is None or ref is None or ref not in self.trace:
            return None
        own = self.trace.array(ref)
        event = self.events.get(info.name)
        if rows is not None:
            own = own[rows[0] : rows[1]]
        layer = self.layers.get(info.owner)
        type_ = layer.type if layer is not None else ""
        key: Hashable = ("given", type_, info.role, tuple(sorted(squeezed(info.shape))), rows)
        if event is None:
            return Part(info, layer, own, False, False, None, key, "", None, None)
        values: np.ndarray | None = None
        if event.values is not None:
            known = ("drawn", event.values.digest, rows)
            if known not in self.samples:
                self.samples[known] = self._values(event.values, info.shape, rows)
            values = self.samples[known]
            if values is not None and not _fits(own, values):
                values = None
            if values is not None and values.size >= _PLENTY:
                key = known
        return Part(info, layer, own, event.random, event.loaded, values, key, event.law, event.file, event.line)

    def _values(self, ref: Any, shape: tuple[int, ...], rows: tuple[int, int] | None) -> np.ndarray | None:
        values = self.trace.array(ref)
        size = int(np.prod(shape)) if shape else 1
        if rows is None:
            return values
        width = size // max(1, shape[0])
        chosen = spread(size, min(size, values.shape[1]))
        inside = (chosen >= rows[0] * width) & (chosen < rows[1] * width)
        return values[:, inside] if inside.any() else None


def _fits(own: np.ndarray, values: np.ndarray) -> bool:
    """Whether a parameter's own values can have come from the distribution that was drawn again."""
    mine = np.asarray(own).reshape(-1)
    if mine.size > values.size:
        mine = mine[spread(mine.size, values.size)]
    if mine.size < 2:
        return True
    return bool(np.all(np.isfinite(mine))) and difference(sample_of(mine), sample_of(values)).p > _STALE


def sample(parts: list[Part]) -> Sample | None:
    """What is known of the distribution that these parts share; equal contents count once."""
    contents: dict[bytes, np.ndarray] = {}
    for part in parts:
        flat = np.asarray(part.own if part.values is None else part.values, np.float64).reshape(-1)
        flat = flat[spread(flat.size, min(flat.size, 2**17))]
        contents.setdefault(flat.tobytes(), flat)
    whole = np.concatenate(list(contents.values()))
    return sample_of(whole) if whole.size > 1 and np.all(np.isfinite(whole)) else None


_NUMBERS = r"(?:([^,()]+), ([^,()]+))?"
_NORMAL = re.compile(rf"(?:numpy\.random\.)?normal_?\({_NUMBERS}\)|Normal\(sigma=([^,()]+), mean=([^,()]+)\)")
_UNIFORM = re.compile(rf"(?:numpy\.random\.)?uniform_?\({_NUMBERS}\)|Uniform\(scale=([^,()]+)\)")
_CUT = re.compile(r"TruncatedNormal\(sigma=([^,()]+), mean=([^,()]+), a=([^,()]+), b=([^,()]+)\)")
_CUT_TORCH = re.compile(r"trunc_normal_\(([^,()]+), ([^,()]+), ([^,()]+), ([^,()]+)\)")


def law_of(part: Part, known: Sample | None) -> tuple[str, tuple[float, ...]]:
    """A part's distribution as `kind` gives it: from the call that drew it where that says it, else from the sample."""
    constant = part.constant
    if constant is not None:
        return "constant", (constant,)
    if part.values is not None:
        if found := _NORMAL.fullmatch(part.law):
            mean, std, sigma, centre = found.groups()
            return "normal", (float(mean or centre or 0), float(std or sigma or 1))
        if found := _UNIFORM.fullmatch(part.law):
            low, high, scale = found.groups()
            return "uniform", (-float(scale), float(scale)) if scale else (float(low or 0), float(high or 1))
        numbers: tuple[float, ...] = ()
        if found := _CUT.fullmatch(part.law):
            sigma, middle, *ends = map(float, found.groups())
            numbers = (middle, sigma, *ends)
        elif found := _CUT_TORCH.fullmatch(part.law):
            numbers = tuple(map(float, found.groups()))
        if numbers and numbers[0] - numbers[2] == numbers[3] - numbers[0]:
            reach = (numbers[3] - numbers[0]) / numbers[1]
            return ("truncated", (*numbers[:2], reach)) if reach < 4 else ("normal", numbers[:2])
    return kind(known) if known is not None else ("", ())
