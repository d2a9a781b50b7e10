"""The measuring session: values held against the candidate's, put in their place, and searched by value."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np

from parity.align.candidate import Candidate, idle_passes
from parity.align.parameters import to_reference
from parity.align.values import Index, Sketch, lay, layout, rms, tame, tame_both
from parity.capture.session import Session
from parity.capture.source import Source
from parity.capture.store import Key, Store
from parity.measured import ForcedOp, Measured
from parity.model import GeneratorEvent, RandomEvent
from parity.statistics import widen
from parity.trace import Trace

LINEAR = {"linear", "addmm", "matmul"}
"""Ops that multiply by a weight."""

TRANSCENDENTAL = frozenset(
    [
        "exp",
        "log",
        "sigmoid",
        "silu",
        "tanh",
        "gelu",
        "softmax",
        "log_softmax",
        "erf",
        "pow",
        "rsqrt",
        "softplus",
        "mish",
        "hardswish",
        "elu",
        "selu",
        "celu",
        "logsumexp",
        "sin",
        "cos",
        "logsigmoid",
        "log1p",
        "expm1",
        "scaled_dot_product_attention",
        "lstm",
        "gru",
        "rnn_tanh",
    ]
)
"""Ops whose kernels are off by several units of rounding."""


_NUMBERS = itertools.count()
"""Passes of this process: each moves values in its own way, and the same one in every run."""


class Measuring(Session):
    """Runs the reference along the candidate; knows how to measure and to put values in, not yet where.

    Args:
        source: Which files are the script's own.
        steps: Steps that both sides have.
        reference: The reference's trace: its random draws.
        candidate: The candidate's recorded values.
        kind: `float64`, `float32` or `probe`.
        base: The precision of the `float64` and `probe` passes.
        store: What passes share.
    """

    def __init__(
        self, source: Source, steps: int, reference: Trace, candidate: Candidate, kind: str, base: str, store: Store
    ) -> None:
        super().__init__(source, steps)
        self.reference = reference
        self.candidate = candidate
        self.kind = kind
        self.double = base == "float64" and kind != "float32"
        self.store = store
        self.ops: list[ForcedOp] = []
        self.candidate_best: dict[str, dict[str, float]] = {}
        self.candidate_moved: dict[str, list[str]] = {}
        self.paired: dict[str, str] = {}
        self._generator = np.random.default_rng([7, next(_NUMBERS)])
        self._draws: dict[int, list[RandomEvent]] = {}
        for event in reference.every(RandomEvent):
            self._draws.setdefault(event.step, []).append(event)
        self._states = {event.step: event.ref for event in reference.every(GeneratorEvent)}
        self._drawn = 0
        self._idle = {(step, number) for step, calls in idle_passes(reference).items() for number, _ in calls}
        self._roots_seen = 0
        self._before_idle: Counter[int] | None = None
        self._op = 0
        self._n: dict[int, int] = {}
        self._rough: set[int] = set()
        self._slack: dict[int, float] = {}
        self._inexact_ops: dict[int, float] = {}
        self._amplified: dict[int, float] = {}
        self._back: dict[int, int] = {}
        self._back_inexact: dict[int, float] = {}
        self._back_rough: set[int] = set()
        self._used: set[int] = set()
        self._consumed: set[int] = set()
        self._index: tuple[Index, dict[int, Any]] | None = None
        self._mine: Index = Index()
        self._step_ops: list[ForcedOp] = []
        self._step_records: list[Measured] = []
        self._uses: Counter[str] = Counter()
        self._terms: dict[str, np.ndarray] = {}
        self._sums: dict[int, np.ndarray] = {}
        self._sum_loss = 0.0
        self.loss_tags: list[int] = []
        self._stash: dict[int, Any] = {}
        self._unanswered: dict[int, tuple[int, int, Any, np.ndarray]] = {}
        self._undo: list[Any] = []
        self._optimizers_seen = 0
        self._touched: set[str] = set()
        self.unknown: set[str] = set()

    @property
    def following(self) -> bool:
        """Not within a forward pass that no gradient comes back to: the candidate's have no place either."""
        return self._before_idle is None and super().following

    def _moved(self, values: np.ndarray, unit: float) -> np.ndarray:
        if self.kind != "probe" or values.dtype.kind != "f":
            return values
        wide = np.asarray(values, np.float64)
        return wide * (1 + unit * self._generator.uniform(-1, 1, wide.shape))

    def _read(self, tensor: Any) -> np.ndarray:
        return widen(*self.adapter.read(tensor))

    def measure(self, key: Key, stage: str, mine: np.ndarray, other: np.ndarray, *, candidate: str, event: int = -1,
                unit: float = 2.0**-24, tag: int = -1) -> Measured | None:  # fmt: skip
        """Holds the candidate's value against the reference's, or in a further pass the reference's against its own."""
        if self.kind != "float64":
            kept, record = self.store.load(key), self.store.record(key)
            if kept is None or record is None or kept.shape != mine.shape:
                return record
            own = rms(tame(np.asarray(mine, np.float64)) - tame(kept))
            if self.kind == "float32":
                record.single = max(record.single, own)
            else:
                record.probe = max(record.probe, own)
            return record
        step, kind, path, call, item = key
        stage = "metrics" if self.evaluating else stage
        wide, theirs = np.asarray(mine, np.float64), np.asarray(other, np.float64)
        record = Measured(
            step, stage, kind, path, call, item, candidate, event, unit=unit, tag=tag, n=self._n.get(tag, 1)
        )
        record.rough = tag in self._rough
        record.slack = self._slack.get(tag, 0.0)
        record.shape, record.candidate_shape = tuple(mine.shape), tuple(other.shape)
        record.scale = rms(tame(wide))
        if wide.shape != theirs.shape:
            record.mismatch = "shape"
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                difference: np.ndarray = np.subtract(*tame_both(theirs, wide))
            bad = ~np.isfinite(difference)
            if bad.any():
                if not np.array_equal(theirs[bad], wide[bad], equal_nan=True):
                    record.mismatch = "nonfinite"
                difference = np.where(bad, 0.0, difference)
            record.error = rms(difference)
            if difference.size:
                where = int(np.argmax(np.abs(difference)))
                record.worst = float(np.abs(difference).reshape(-1)[where])
                record.worst_index = tuple(int(i) for i in np.unravel_index(where, difference.shape))
                good = np.where(bad, 0.0, wide).reshape(-1)
                record.peak = float(np.abs(good).max())
                square = float(np.dot(good, good))
                if square > 0:
                    record.factor = float(np.dot(np.where(bad, 0.0, theirs).reshape(-1), good)) / square
        self.store.save(key, wide, record)
        self._step_records.append(record)
        return record

    def _layout(self, key: Key, theirs: np.ndarray, mine: np.ndarray) -> tuple[str, tuple[int, ...]] | None:
        general: Key = (0, *key[1:])
        if general not in self.store.layouts:
            found = layout(theirs, mine)
            if found is None:
                return None
            self.store.layouts[general] = found
        how = self.store.layouts[general]
        try:
            laid = lay(theirs, how)
        except ValueError:
            return layout(theirs, mine)
        return how if laid.shape == mine.shape else layout(theirs, mine)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {h.names[0]: tuple(h.tensor.shape) for h in self.held}

    def _assign(self, arrays: dict[str, np.ndarray]) -> None:
        mine = to_reference(self.candidate.mapping, arrays, self._shapes())
        for held in self.held:
            values = mine.get(held.names[0])
            if values is not None:
                self.adapter.assign(held.tensor, self._moved(values, 2.0**-24))

    def finish(self) -> None:
        """Takes back what the pass changed in the framework."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        if self.adapter is not None:
            self.adapter.forget_tags()

    def arguments(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Lifts an op's arguments to float64 where it meets float64."""
        if not self.double:
            return args, kwargs
        from parity.capture.frameworks.torch_force import promote
        from parity.capture.frameworks.torch_ops import name_of

        return promote(args, kwargs, name_of(func))

    def _tag(self, tensor: Any) -> int:
        tag = self.adapter.tag(tensor)
        if tag is None:
            tag = next(self._tags)
            self.adapter.set_tag(tensor, tag)
            self._keep.append(tensor)
        return tag

    def _retag(self, tensor: Any, n: int = 1) -> int:
        tag = next(self._tags)
        self.adapter.set_tag(tensor, tag)
        self._keep.append(tensor)
        self._n[tag] = n
        return tag

    def _put(self, tensor: Any, values: np.ndarray, unit: float, arrived: Any = None) -> Any:
        from parity.capture.frameworks.torch_force import put

        if self.double and tensor.dtype.is_floating_point:
            tensor = tensor.double()
        if self.kind == "probe" and arrived is None and tensor.requires_grad:

            def arrived(gradient: Any) -> Any:
                busy, self.busy = self.busy, True
                moved = self.adapter.make(self._moved(self._read(gradient), unit), gradient)
                self.busy = busy
                return moved

        new = put(tensor, self._moved(values, unit), arrived)
        self._retag(new)
        return new

    def _candidates(self) -> tuple[Index, dict[int, Any]]:
        if self._index is None:
            self._index = self.candidate.index(self.step)
        return self._index

    def _look(self, tensor: Any, record: ForcedOp) -> tuple[np.ndarray, list[tuple[float, int, bool]]]:
        mine = self._read(tensor)
        sketch = Sketch(mine)
        self._mine.add(record.id, sketch)
        index, entries = self._candidates()
        near = index.nearest(sketch)
        if near:
            gap, key, moved = near[0]
            record.best, record.moved, record.match = (gap if np.isfinite(gap) else None), moved, entries[key][1]
        return mine, near

    def _draw_on(self) -> None:
        """What is drawn after a step, such as a loader's next order, is what the recorded run drew."""
        if self.step in self._states:
            self.adapter.set_generator_state(self.reference.array(self._states[self.step]))

    def _on_random(self, kind: str, shape: tuple[int, ...], draw: Any) -> Any:
        known = self._draws.get(self.step, [])
        number, self._drawn = self._drawn, self._drawn + 1
        unknown = number >= len(known) or known[number].ref.size != int(np.prod(shape))
        if unknown or kind == "integer":  # floats take more of the generator in float64; whole numbers as much
            drawn = draw()
        if unknown:
            return drawn
        return np.array(self.reference.array(known[number].ref)).reshape(shape)
