"""The forcing session: one pass of the reference along the candidate's trajectory, measuring at every boundary."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from parity.align.parameters import to_reference
from parity.align.values import Index, Sketch, distance, lay, layout, rms
from parity.capture.candidate import Candidate, Value
from parity.capture.frameworks.base import replace_tensors, tensors_in
from parity.capture.session import Frame, Session
from parity.capture.source import Source
from parity.measured import ForcedOp, Measured
from parity.model import CallEvent, RandomEvent
from parity.trace import Trace

Key = tuple[int, str, str, int, str]
_STATES = {
    "momentum_buffer": ("momentum_buffer", "moments", "accum"),
    "exp_avg": ("exp_avg", "moment1", "adam_m", "moments1"),
    "exp_avg_sq": ("exp_avg_sq", "moment2", "adam_v", "moments2"),
    "square_avg": ("square_avg", "mean_square"),
    "sum": ("sum", "accum"),
}
_LINEAR = {"linear", "addmm", "matmul"}
_TRANSCENDENTAL = frozenset(
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


class Store:
    """The float64 values of all boundaries, for the further passes to be held against: on disk, read back by mapping."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)
        self._places: dict[Key, tuple[int, tuple[int, ...]]] = {}
        self._records: dict[Key, Measured] = {}
        self.layouts: dict[Key, tuple[str, tuple[int, ...]]] = {}
        self.inner: set[Key] = set()
        self.snaps: dict[tuple[int, int], Any] = {}
        self.scales: dict[int, float] = {}
        self.alike: dict[Key, CallEvent] = {}

    def clear(self) -> None:
        """Forgets an unfinished pass."""
        self._places.clear()
        self._records.clear()
        self.layouts.clear()
        self.inner.clear()
        self.snaps.clear()
        self.alike.clear()

    def save(self, key: Key, values: np.ndarray, record: Measured) -> None:
        """Keeps a value and what was measured at it."""
        offset = self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(values, np.float64).tobytes())
        self._places[key] = (offset, values.shape)
        record.order = len(self._records)
        self._records[key] = record

    def load(self, key: Key) -> np.ndarray | None:
        """The float64 value kept under a key."""
        place = self._places.get(key)
        if place is None:
            return None
        offset, shape = place
        size = int(np.prod(shape)) if shape else 1
        self._file.seek(offset)
        return np.frombuffer(self._file.read(size * 8), np.float64).reshape(shape)

    def record(self, key: Key) -> Measured | None:
        """What was measured under a key."""
        return self._records.get(key)

    def records(self) -> list[Measured]:
        """Everything measured, in the order of the float64 pass."""
        return list(self._records.values())

    def close(self) -> None:
        """Removes the values."""
        self._file.close()


class Forcer(Session):
    """Runs the reference along the candidate.

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
        self._generator = np.random.default_rng([7, len(store.layouts), hash(kind) & 0xFFFF, id(self) & 0xFFFF])
        self._draws: dict[int, list[RandomEvent]] = {}
        for event in reference.of(RandomEvent):
            self._draws.setdefault(event.step, []).append(event)
        self._drawn = 0
        self._op = 0
        self._n: dict[int, int] = {}
        self._rough: set[int] = set()
        self._back_rough: set[int] = set()
        self._used: set[int] = set()
        self._consumed: set[int] = set()
        self._index: tuple[Index, dict[int, Any]] | None = None
        self._mine: Index = Index()
        self._step_ops: list[ForcedOp] = []
        self._step_records: list[Measured] = []
        self._uses: Counter[str] = Counter()
        self._terms: dict[str, np.ndarray] = {}
        self._stash: dict[int, Any] = {}
        self._undo: list[Any] = []
        self._optimizers_seen = 0
        self._touched: set[str] = set()

    # Numbers --------------------------------------------------------------------------------------------------

    def _moved(self, values: np.ndarray, unit: float) -> np.ndarray:
        if self.kind != "probe" or values.dtype.kind != "f":
            return values
        wide = np.asarray(values, np.float64)
        return wide * (1 + unit * self._generator.uniform(-1, 1, wide.shape))

    def _read(self, tensor: Any) -> np.ndarray:
        values, dtype = self.adapter.read(tensor)
        return values if dtype != "bfloat16" else (values.astype(np.uint32) << 16).view(np.float32)

    def measure(self, key: Key, stage: str, mine: np.ndarray, other: np.ndarray, *, candidate: str, event: int = -1,
                unit: float = 2.0**-24, tag: int = -1) -> Measured | None:  # fmt: skip
        """Holds the candidate's value against the reference's, or in a further pass the reference's against its own."""
        if self.kind != "float64":
            kept, record = self.store.load(key), self.store.record(key)
            if kept is None or record is None or kept.shape != mine.shape:
                return record
            difference = rms(np.asarray(mine, np.float64) - kept)
            if self.kind == "float32":
                record.single = max(record.single, difference)
            else:
                record.probe = max(record.probe, difference)
            return record
        step, kind, path, call, item = key
        wide, theirs = np.asarray(mine, np.float64), np.asarray(other, np.float64)
        record = Measured(
            step, stage, kind, path, call, item, candidate, event, unit=unit, tag=tag, n=self._n.get(tag, 1)
        )
        record.rough = tag in self._rough
        record.shape, record.candidate_shape = tuple(mine.shape), tuple(other.shape)
        record.scale = rms(wide)
        if wide.shape != theirs.shape:
            record.mismatch = "shape"
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                difference = theirs - wide
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

    # The model ------------------------------------------------------------------------------------------------

    def _on_model(self) -> None:
        self.busy = True
        if self.double:
            for root in self.roots:
                root.double()
        from parity.capture.frameworks.torch_force import no_autocast

        self._undo.append(no_autocast())
        known = {p.name: p.ref for p in self.candidate.trace.parameters if p.ref is not None}
        self._assign(self.candidate.arrays(known))
        self.busy = False

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

    # Layers ---------------------------------------------------------------------------------------------------

    def arguments(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Lifts an op's arguments to float64 where it meets float64."""
        if not self.double:
            return args, kwargs
        from parity.capture.frameworks.torch_force import promote
        from parity.capture.frameworks.torch_ops import name_of

        args, kwargs, _ = promote(args, kwargs, func, name_of(func))
        return args, kwargs

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

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        self.busy = True
        is_root = any(frame.layer is root for root in self.roots)
        if is_root:
            args, kwargs = self._enter_root(frame, args, kwargs)
        elif frame.path in self.candidate.targets and self.candidate.same_function(frame.path):
            tensors = [name for name, _ in tensors_in(list(args), self.adapter.is_tensor)]

            def force(name: str, tensor: Any) -> Any:
                value = self.candidate.input(self.step, frame.path, frame.call, name, tensors.index(name))
                return tensor if value is None else self._force_input(frame, name, tensor, value)

            args = replace_tensors(tuple(args), force, self.adapter.is_tensor)
        self.busy = False
        return args, kwargs

    def _enter_root(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        calls = self.candidate.root_calls.get(self.step, [])
        if len(self.roots) != 1 or frame.call >= len(calls):
            return args, kwargs
        left = list(calls[frame.call].inputs)

        def force(name: str, tensor: Any) -> Any:
            mine = self._read(tensor)
            item = next((i for i in left if i.name == name and i.ref.size == mine.size), None)
            item = item or next((i for i in left if tuple(i.ref.shape) == mine.shape), None)
            if item is None:
                return tensor
            left.remove(item)
            theirs = self.candidate.array(item.ref).reshape(mine.shape)
            if mine.dtype.kind != "f":
                return tensor if np.array_equal(mine, theirs) else self.adapter.make(theirs, tensor)
            return self._put(tensor, theirs, 2.0**-24)

        return replace_tensors(tuple(args), force, self.adapter.is_tensor), replace_tensors(
            kwargs, force, self.adapter.is_tensor
        )

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

    def _force_input(self, frame: Frame, name: str, tensor: Any, value: Value) -> Any:
        key: Key = (self.step, "input", frame.path, frame.call, name)
        mine = self._read(tensor)
        how = self._layout(key, value.array, mine)
        if how is None:
            return tensor
        theirs = lay(value.array, how)
        tag = self._tag(tensor)
        if mine.dtype.kind != "f" or theirs.dtype.kind != "f":
            if mine.dtype.kind == "f" or theirs.dtype.kind == "f":
                return tensor
            self.measure(key, "forward", mine, theirs, candidate=value.path, event=value.event, tag=tag)
            new = self.adapter.make(theirs, tensor)
            self._retag(new)
            return new
        record = self.measure(
            key, "forward", mine, theirs, candidate=value.path, event=value.event, unit=value.unit, tag=tag
        )
        new = self._put(tensor, theirs, value.unit)
        if record is not None and self.kind == "float64":
            record.forced = self._tag(new)
        return new

    def _on_leave(self, frame: Frame, output: Any) -> Any:
        self.busy = True
        names = [name for name, _ in tensors_in(output, self.adapter.is_tensor)]
        is_root = any(frame.layer is root for root in self.roots)
        if is_root and len(self.roots) == 1:
            calls = self.candidate.root_calls.get(self.step, [])
            if frame.call < len(calls):
                self.paired[frame.path] = calls[frame.call].path

                def force_root(name: str, tensor: Any) -> Any:
                    value = self.candidate.item_of(calls[frame.call], name, names.index(name))
                    return tensor if value is None else self._force_output(frame, name, tensor, value, "root")

                output = replace_tensors(output, force_root, self.adapter.is_tensor)
        elif frame.path in self.candidate.targets and self.candidate.same_function(frame.path):

            def force(name: str, tensor: Any) -> Any:
                value = self.candidate.output(self.step, frame.path, frame.call, name, names.index(name))
                if value is None:
                    return tensor
                self.paired[frame.path] = value.path
                return self._force_output(frame, name, tensor, value, "output")

            output = replace_tensors(output, force, self.adapter.is_tensor)
        elif self.adapter.is_tensor(output) and output.is_floating_point():
            output = self._force_alike(frame, output)
        self.busy = False
        return output

    def _force_alike(self, frame: Frame, tensor: Any) -> Any:
        """A boundary at a container or a parameterless layer, where the candidate's counterpart has the same value."""
        key: Key = (self.step, "output", frame.path, frame.call, "")
        call = self._alike(frame, tensor) if self.kind == "float64" else self.store.alike.get(key)
        if call is None:
            return tensor
        self.store.alike[key] = call
        value = self.candidate.item_of(call, "", 0)
        if value is None:
            return tensor
        self.paired[frame.path] = value.path
        return self._force_output(frame, "", tensor, value, "output")

    def _alike(self, frame: Frame, tensor: Any) -> CallEvent | None:
        mine = self._read(tensor)
        for path in self.candidate.containers.get(frame.path, ()):
            calls = self.candidate.calls.get((self.step, path), [])
            if frame.call < len(calls) and len(calls[frame.call].outputs) == 1:
                theirs = self.candidate.array(calls[frame.call].outputs[0].ref)
                how = layout(theirs, mine)
                if how is not None and distance(lay(theirs, how), mine) <= 8 * self.candidate.unit(calls[frame.call]):
                    return calls[frame.call]
        if not self.adapter.is_framework_layer(frame.layer) or tensor.numel() < 2:
            return None
        index, entries = self._candidates()
        for gap, entry, moved in index.nearest(Sketch(mine))[:2]:
            ref = entries[entry][0]
            call = self.candidate.same_call(self.step, ref.digest, type(frame.layer).__name__, self._used)
            if call is None or moved or gap > 1e-6:
                continue
            if distance(self.candidate.array(ref).reshape(mine.shape), mine) <= 8 * self.candidate.unit(call):
                self._used.add(call.id)
                return call
        return None

    def _force_output(self, frame: Frame, name: str, tensor: Any, value: Value, kind: str) -> Any:
        key: Key = (self.step, kind, frame.path, frame.call, name)
        mine = self._read(tensor)
        if mine.dtype.kind != "f" or key in self.store.inner:
            return tensor
        how = self._layout(key, value.array, mine)
        tag = self._tag(tensor)
        if how is None:
            if self.kind == "float64" and not self._inside(value, mine):
                self.measure(
                    key, "forward", mine, value.array, candidate=value.path, event=value.event, unit=value.unit, tag=tag
                )
            else:
                self.store.inner.add(key)
            return tensor
        theirs = lay(value.array, how)
        if self.kind == "float64" and kind == "output" and distance(theirs, mine) > 1e-5 and self._inside(value, mine):
            self.store.inner.add(key)
            return tensor
        record = self.measure(
            key, "forward", mine, theirs, candidate=value.path, event=value.event, unit=value.unit, tag=tag
        )

        def arrived(gradient: Any) -> Any:
            return self._force_gradient(frame, name, gradient, value, how, tag)

        whole = tensor.requires_grad and tag not in self._consumed
        new = self._put(tensor, theirs, value.unit, arrived if whole else None)
        if record is not None and self.kind == "float64":
            record.forced = self._tag(new)
            record.cut = whole and value.gradient is not None
        return new

    def _inside(self, value: Value, mine: np.ndarray) -> bool:
        """Whether the reference's value is made by an op inside the candidate's layer (a fused activation follows it)."""
        call = next((c for c in self.candidate.calls.get((self.step, value.path), []) if c.id == value.event), None)
        if call is None:
            return False
        for op in self.candidate.ops[self.step]:
            if call.id < op.id < call.end:
                for item in op.outputs:
                    if item.ref.size == mine.size and "float" in item.ref.dtype:
                        theirs = self.candidate.array(item.ref).reshape(mine.shape)
                        if distance(theirs, mine) < 64 * value.unit:
                            return True
        return False

    def _force_gradient(self, frame: Frame, name: str, gradient: Any, value: Value, how: Any, tag: int) -> Any:
        key: Key = (self.step, "gradient", frame.path, frame.call, name)
        busy, self.busy = self.busy, True
        try:
            mine = self._read(gradient)
            if value.gradient is None:
                return gradient
            theirs = lay(value.gradient, how, gradient=True)
            self.measure(
                key, "backward", mine, theirs, candidate=value.path, event=value.event, unit=value.unit, tag=tag
            )
            self._touched.add(frame.path)
            new = self.adapter.make(self._moved(theirs, value.unit), gradient)
            if self.kind == "float64" and not name.strip("0."):
                self._sum_terms(frame, new)
            return new
        finally:
            self.busy = busy

    def _sum_terms(self, frame: Frame, gradient: Any) -> None:
        from parity.capture.frameworks.torch_force import sums_of_absolute_terms

        x = getattr(frame, "data", None)
        if x is None or not self.double:
            return
        try:
            terms = sums_of_absolute_terms(frame.layer, x, gradient)
        except (RuntimeError, ValueError, TypeError):
            return
        for role, values in terms.items():
            name = self.parameter_name(getattr(frame.layer, role))
            if name is not None:
                self._terms[name] = self._terms[name] + values if name in self._terms else values

    # Ops ------------------------------------------------------------------------------------------------------

    def _on_op(self, name: str, inputs: list[Any], outputs: Any, view: bool, inplace: bool, reduction: int) -> Any:
        self.busy = True
        number, self._op = self._op, self._op + 1
        tags = [self._tag(t) for t in inputs]
        if self._first is not None and tags:
            tags[0] = self._first
        self._consumed.update(tags)
        n = max([reduction, *(self._n.get(t, 1) for t in tags)])
        made = [t for _, t in tensors_in(outputs, self.adapter.is_tensor)]
        record = None
        if self.kind == "float64":
            file, line = self.source.here()
            record = ForcedOp(
                next(self._ids), self.step, name, self.here, file, line, tags, [], tuple(made[0].shape),
                [tuple(t.shape) for t in inputs], view, reduction, floating=made[0].is_floating_point(),
            )  # fmt: skip
            self.ops.append(record)
            self._step_ops.append(record)
        single = len(made) == 1 and outputs is made[0] and made[0].is_floating_point() and made[0].numel() > 1
        if single and not view and not inplace:
            outputs = self._snap(number, outputs, record, n)
            made = [outputs]
        elif single and record is not None:
            self._look(made[0], record)
        rough = name.rstrip("_") in _TRANSCENDENTAL or any(t in self._rough for t in tags)
        for tensor in made:
            tag = self._retag(tensor, n)
            if rough:
                self._rough.add(tag)
            if record is not None:
                record.outputs.append(tag)
        frame = self.stack[-1] if self.stack else None
        if (
            frame is not None
            and frame.data is None
            and inputs
            and frame.layer is not None
            and inputs[0].is_floating_point()
        ):
            frame.data = inputs[0].detach()
        outputs = self._structural(name, inputs, outputs, record)
        self.busy = False
        return outputs

    def _structural(self, name: str, inputs: list[Any], outputs: Any, record: ForcedOp | None) -> Any:
        """The output of a linear op whose parameters belong to no layer that is called: a boundary of its own."""
        if name not in _LINEAR or not self.adapter.is_tensor(outputs):
            return outputs
        for parameter in filter(None, map(self.parameter_name, inputs)):
            owner = parameter.rpartition(".")[0]
            if self.stack and self.stack[-1].path == owner and self.candidate.same_function(owner):
                return outputs
            target = self.candidate.targets.get(owner)
            if target is None or not all(k == "linear" for k in self.candidate.kinds(owner)[1]):
                return outputs
            call = self._uses[owner]
            self._uses[owner] += 1
            value = self.candidate.output(self.step, owner, call, "", 0)
            if value is None:
                return outputs
            frame = Frame(None, owner, call, -1, None, True)
            self.paired[owner] = value.path
            return self._force_output(frame, "", outputs, value, "output")
        return outputs

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

    def _snap(self, number: int, tensor: Any, record: ForcedOp | None, n: int) -> Any:
        """Goes on with the candidate's value where it has this tensor to within rounding, so that signs and ties agree."""
        key = (self.step, number)
        if record is None:
            known = self.store.snaps.get(key)
            if known is None:
                return tensor
            ref, unit = known
            return self._put(tensor, self.candidate.array(ref).reshape(tuple(tensor.shape)), unit)
        mine, near = self._look(tensor, record)
        _, entries = self._candidates()
        for gap, entry, moved in near[:3]:
            ref = entries[entry][0]
            unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(ref.dtype, 2.0**-24)
            allowed = max(4.0, 0.5 * float(np.sqrt(record.reduction))) * unit
            if moved or gap > 2 * allowed:
                continue
            theirs = self.candidate.array(ref).reshape(mine.shape)
            if distance(theirs, mine) <= allowed:
                record.best, record.match, record.moved = distance(theirs, mine), entries[entry][1], False
                self.store.snaps[key] = (ref, unit)
                return self._put(tensor, theirs, unit)
        return tensor

    def _on_random(self, kind: str, shape: tuple[int, ...], draw: Any) -> Any:
        known = self._draws.get(self.step, [])
        number, self._drawn = self._drawn, self._drawn + 1
        if number >= len(known) or known[number].ref.size != int(np.prod(shape)):
            return draw()
        return np.array(self.reference.array(known[number].ref)).reshape(shape)

    # Backward and optimizer -----------------------------------------------------------------------------------

    def _on_backward(self, loss: Any) -> None:
        self.busy = True
        self._reach_back()
        trainable = [h.tensor for h in self.held if h.trainable]
        self._stash = {id(p): p.grad for p in trainable if p.grad is not None}
        for parameter in trainable:
            parameter.grad = None
        ref = self.candidate.losses.get((self.step, self.backwards))
        if loss is not None and ref is not None:
            mine, theirs = self._read(loss), np.asarray(self.candidate.array(ref), np.float64)
            scale = self.store.scales.get(self.step, 1.0)
            if self.kind == "float64" and mine.size == theirs.size == 1 and float(mine.reshape(-1)[0]):
                ratio = float(theirs.reshape(-1)[0] / mine.reshape(-1)[0])
                power = round(np.log2(ratio)) if ratio > 1.5 else 0
                if (
                    power >= 1
                    and abs(ratio / 2.0**power - 1) < 0.03
                    and self.candidate.scales_loss(self.step, 2.0**power)
                ):
                    scale = self.store.scales[self.step] = 2.0**power
            if scale != 1.0:
                theirs = theirs / scale
                loss.register_hook(lambda gradient, scale=scale: gradient * scale)
            key: Key = (self.step, "loss", "", self.backwards, "")
            laid = theirs.reshape(mine.shape) if theirs.size == mine.size else theirs
            self.measure(key, "loss", mine, laid, candidate="", tag=self._tag(loss))
        self.busy = False

    def _reach_back(self) -> None:
        """Gives each tensor the longest sum that its gradient takes before the next boundary."""
        if self.kind != "float64":
            return
        back: dict[int, int] = {}
        rough: set[int] = set()
        forced = {r.tag for r in self._step_records if r.cut}
        through = {r.forced: r.tag for r in self._step_records if r.forced >= 0 and not r.cut}
        for op in reversed(self._step_ops):
            beyond = max([1, *(back.get(t, 1) for t in op.outputs if t not in forced)])
            size = int(np.prod(op.shape)) if op.shape else 1
            for given, shape in zip(op.inputs, op.shapes, strict=False):
                tag = given
                while tag in through:
                    tag = through[tag]
                own = int(np.prod(shape)) if shape else 1
                spread = max(1, size // max(1, own))
                if op.name in ("linear", "matmul", "bmm", "mm", "addmm") and op.shape:
                    spread = op.shape[-1]
                elif op.name.startswith("conv") and len(op.shapes) > 1:
                    spread = max(1, int(np.prod(op.shapes[1])) // max(1, op.shape[1] if len(op.shape) > 1 else 1)) * 4
                elif op.name in ("batch_norm", "layer_norm", "group_norm", "softmax", "log_softmax"):
                    spread = op.reduction
                elif op.name == "embedding":
                    spread = max(1, size // max(1, int(op.shapes[-1][0]) if op.shapes[-1] else 1))
                back[tag] = max(back.get(tag, 1), spread, beyond)
                if op.name.rstrip("_") in _TRANSCENDENTAL or any(t in rough and t not in forced for t in op.outputs):
                    rough.add(tag)
        self._back, self._back_rough = back, rough

    def _on_gradients(self, gradients: dict[int, Any] | None) -> None:
        self.busy = True
        refs = self.candidate.backward.get((self.step, self.backwards), {})
        theirs = to_reference(self.candidate.mapping, self.candidate.arrays(refs), self._shapes())
        scale = self.store.scales.get(self.step, 1.0)
        for held in self.held:
            if not held.trainable:
                continue
            name, parameter = held.names[0], held.tensor
            other = theirs.get(name)
            if parameter.grad is not None and other is not None:
                mine = self._read(parameter.grad)
                key: Key = (self.step, "parameter-gradient", name, self.backwards, "")
                candidate, unit = self._owner(held)
                record = self.measure(key, "backward", mine, other, candidate=candidate, unit=unit)
                if record is not None and self.kind == "float64":
                    terms = self._terms.get(name)
                    record.terms = rms(terms) if terms is not None else 0.0
                    record.n = self._rows(held)
                parameter.grad = self.adapter.make(self._moved(other, 2.0**-24) / scale, parameter.grad)
            elif parameter.grad is not None and self.kind == "float64" and refs:
                mapped = {p.reference for p in self.candidate.mapping.pairs} | {
                    n for p in self.candidate.mapping.pairs for n in p.parts
                }
                mine = self._read(parameter.grad)
                if name in mapped and rms(mine) > 0:
                    missing: Key = (self.step, "parameter-gradient", name, self.backwards, "")
                    candidate, unit = self._owner(held)
                    record = self.measure(missing, "backward", mine, mine, candidate=candidate, unit=unit)
                    if record is not None:
                        record.mismatch = "missing"
            before = self._stash.get(id(parameter))
            if before is not None:
                parameter.grad = before if parameter.grad is None else parameter.grad + before
        self._terms.clear()
        self.busy = False

    def _owner(self, held: Any) -> tuple[str, float]:
        pair = next(
            (p for p in self.candidate.mapping.pairs if p.reference == held.names[0] or held.names[0] in p.parts), None
        )
        name = pair.candidate if pair else ""
        calls = self.candidate.calls.get((self.step, name.rpartition(".")[0]), [])
        return name, self.candidate.unit(calls[0], calls[0].outputs[0]) if calls and calls[0].outputs else 2.0**-24

    def _rows(self, held: Any) -> int:
        """How many terms one element of a parameter's gradient sums."""
        most = 1
        size = max(1, int(held.tensor.numel()))
        first = int(held.tensor.shape[0]) if held.tensor.dim() else 1
        for op in self._step_ops:
            for tag, shape in zip(op.inputs, op.shapes, strict=False):
                if tag == self._tag_of_parameter(held.tensor) and shape == tuple(held.tensor.shape):
                    made = int(np.prod(op.shape)) if op.shape else 1
                    most = max(
                        most,
                        made // max(1, first if op.name in _LINEAR or op.name.startswith("conv") else min(size, made)),
                    )
        return most

    def _tag_of_parameter(self, tensor: Any) -> int:
        tag = self.adapter.tag(tensor)
        return -2 if tag is None else tag

    def _optimizer_event(self, optimizer: Any) -> Any:
        events = self.candidate.optimizers.get(self.step, [])
        index = self._optimizers_seen
        return events[index] if index < len(events) else None

    def _on_optimizer(self, optimizer: Any, gradients: list[Any]) -> list[Any]:
        event = self._optimizer_event(optimizer)
        if event is None:
            return gradients
        self.busy = True
        given = to_reference(self.candidate.mapping, self.candidate.arrays(event.given), self._shapes())
        result = []
        total = sum(int(np.prod(shape)) for shape in self._shapes().values())
        for parameter, gradient in zip(self.adapter.optimizer_parameters(optimizer), gradients, strict=True):
            name = self.parameter_name(parameter) or ""
            theirs = given.get(name)
            if theirs is None or gradient is None:
                result.append(gradient)
                continue
            key: Key = (self.step, "given", name, self._optimizers_seen, "")
            record = self.measure(key, "optimizer", self._read(gradient), theirs, candidate=event.name)
            if record is not None and self.kind == "float64":
                record.n = total
            result.append(self.adapter.make(self._moved(theirs, 2.0**-24), gradient))
        self._before = {id(p): self._read(p) for p in self.adapter.optimizer_parameters(optimizer)}
        self.busy = False
        return result

    def _on_updated(self, optimizer: Any) -> None:
        event = self._optimizer_event(optimizer)
        self._optimizers_seen += 1
        if event is None:
            return
        self.busy = True
        after = to_reference(self.candidate.mapping, self.candidate.arrays(event.after), self._shapes())
        state = self.adapter.optimizer_state(optimizer)
        states = self._states(event)
        for parameter in self.adapter.optimizer_parameters(optimizer):
            name = self.parameter_name(parameter) or ""
            theirs = after.get(name)
            if theirs is None:
                continue
            mine = self._read(parameter)
            key: Key = (self.step, "parameter", name, self._optimizers_seen - 1, "")
            record = self.measure(key, "optimizer", mine, theirs, candidate=event.name)
            held_state = self._state(event.name, name, state.get(id(parameter), {}), states)
            if record is not None and self.kind == "float64":
                self._alternatives(record, optimizer, parameter, theirs, held_state)
                moved = mine - np.asarray(self._before[id(parameter)], np.float64)
                record.detail = (
                    f"{rms(moved):.6g} {rms(theirs - np.asarray(self._before[id(parameter)], np.float64)):.6g}"
                )
            self.adapter.assign(parameter, self._moved(theirs, 2.0**-24))
        self.busy = False

    def _alternatives(
        self, record: Measured, optimizer: Any, parameter: Any, theirs: np.ndarray, state: dict[str, Any]
    ) -> None:
        """Adam in other words: with the candidate's state and float32 coefficients (which is rounding), and with its
        epsilon inside the bias correction (as in Kingma and Ba 2015, section 2, and in TensorFlow).
        """
        group = next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
        if (
            type(optimizer).__name__ not in ("Adam", "AdamW")
            or group.get("amsgrad")
            or not {"exp_avg", "exp_avg_sq"} <= set(state)
        ):
            return
        first, second = (np.asarray(state[k], np.float64) for k in ("exp_avg", "exp_avg_sq"))
        step = float(optimizer.state[parameter]["step"])
        beta1, beta2 = group["betas"]
        rate, decay, eps = float(group["lr"]), float(group["weight_decay"]), float(group["eps"])
        before = np.asarray(self._before[id(parameter)], np.float64)
        if type(optimizer).__name__ == "AdamW":
            before = before * (1 - rate * decay)
        mine = np.asarray(self._read(parameter), np.float64)
        inside, outside = [], []
        for kind in (np.float64, np.float32):
            one = 1 - kind(beta1) ** kind(step)
            two = 1 - kind(beta2) ** kind(step)
            size = rate * np.sqrt(np.float64(two)) / np.float64(one)
            inside.append(before - size * first / (np.sqrt(second) + eps))
            outside.append(before - rate / np.float64(one) * first / (np.sqrt(second / np.float64(two)) + eps))
        record.single = max([record.single, *(rms(mine - other) for other in outside)])
        record.alternatives["adam-epsilon"] = min(rms(theirs - other) for other in inside)

    def _states(self, event: Any) -> dict[str, dict[str, np.ndarray]]:
        """The candidate's optimizer state by the reference's keys and parameter names."""
        found: dict[str, dict[str, np.ndarray]] = {}
        shapes = self._shapes()
        for key, others in _STATES.items():
            other = next((o for o in others if any(o in s for s in event.state.values())), None)
            if other is not None:
                refs = {n: s[other] for n, s in event.state.items() if other in s}
                found[key] = to_reference(self.candidate.mapping, self.candidate.arrays(refs), shapes)
        return found

    def _state(
        self, optimizer: str, name: str, state: dict[str, Any], states: dict[str, dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Measures the optimizer's state for one parameter, goes on with the candidate's, and returns it."""
        found: dict[str, np.ndarray] = {}
        for key, tensor in state.items():
            theirs = states.get(key, {}).get(name)
            if theirs is None:
                continue
            mine = self._read(tensor)
            if theirs.shape == mine.shape:
                place: Key = (self.step, "state", name, self._optimizers_seen - 1, key)
                self.measure(place, "optimizer", mine, theirs, candidate=optimizer)
                if distance(theirs, mine) < 1e-4:
                    found[key] = theirs
                    self.adapter.assign(tensor, self._moved(theirs, 2.0**-24))
        return found

    def _on_step_end(self) -> None:
        self.busy = True
        values = self.candidate.buffers.get(self.step)
        if values:
            theirs = to_reference(self.candidate.mapping, self.candidate.arrays(values), self._shapes())
            for held in self.held:
                other = theirs.get(held.names[0])
                if held.buffer and other is not None and held.tensor.is_floating_point():
                    key: Key = (self.step, "buffer", held.names[0], 0, "")
                    candidate, _ = self._owner(held)
                    record = self.measure(key, "metrics", self._read(held.tensor), other, candidate=candidate)
                    if record is not None and self.kind == "float64":
                        record.n = max([1, *(o.reduction for o in self._step_ops if o.path == held.owner)])
                    self.adapter.assign(held.tensor, self._moved(other, 2.0**-24))
        if self.kind == "float64":
            back = getattr(self, "_back", {})
            for record in self._step_records:
                if record.kind == "gradient":
                    record.n = max(record.n, back.get(record.forced if record.forced >= 0 else record.tag, 1))
            forced = {r.tag: r.forced for r in self._step_records if r.forced >= 0}
            for record in self._step_records:
                if record.kind == "gradient" and record.tag in forced:
                    record.n = back.get(forced[record.tag], 1)
                    record.rough = forced[record.tag] in self._back_rough
            self._nearest_mine()
        self._step_ops, self._step_records = [], []
        self._index, self._mine = None, Index()
        self._uses.clear()
        self._op = self._drawn = self._optimizers_seen = 0
        self._n.clear()
        self._rough.clear()
        self._consumed.clear()
        self.busy = False

    def _nearest_mine(self) -> None:
        """For each tensor that the candidate made, how near the nearest one of the reference is."""
        index, entries = self._candidates()
        best: dict[str, float] = {}
        moved: list[str] = []
        for key, sketch in index:
            near = self._mine.nearest(sketch)
            digest = entries[key][0].digest
            best[digest] = near[0][0] if near and np.isfinite(near[0][0]) else 1e9
            if near and near[0][2]:
                moved.append(digest)
        self.candidate_best[str(self.step)] = best
        self.candidate_moved[str(self.step)] = moved
