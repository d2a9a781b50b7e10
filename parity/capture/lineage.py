"""What a candidate's loop computed with its models from the reference's data: its own work, which is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.align.values import distance
from parity.model import AsideEvent, BatchEvent, CallEvent, OpEvent, SourceEvent, TensorRef
from parity.statistics import widen
from parity.trace import Trace

NEAR = 0.2
"""Relative distance under which a tensor of unknown origin counts as an attempt at what the reference computed."""


class Lineage:
    """Follows tensors of a candidate's step from models and data, outside of what is differentiated.

    Args:
        session: The synchronising session.
        reference: The reference's trace.
    """

    def __init__(self, session: Any, reference: Trace) -> None:
        self._session = session
        self._reference = reference
        self._sources: dict[int, Any] = {}
        self._weights: set[int] = set()
        self._made: dict[int, frozenset[int]] = {}
        self._computed: set[int] = set()
        self._own: dict[int, bool] = {}
        self._quiet: tuple[int, list[TensorRef]] = (-1, [])

    def source(self, vid: int, tensor: Any, weight: bool) -> None:
        """A tensor without identity entered the step; `weight` tells that it belongs to a model or companion."""
        if weight:
            self._weights.add(vid)
        else:
            self._sources[vid] = tensor

    def made(self, event: OpEvent) -> None:
        """An op ran outside of the layers that are differentiated."""
        read = [vid for vid in event.inputs if vid not in self._weights]
        found = frozenset().union(*(self._made.get(vid, frozenset([vid])) for vid in read)) if read else frozenset()
        computed = bool(event.parameters) or any(vid in self._computed for vid in read)
        for item in event.outputs:
            self._made[item.vid] = found
            if computed:
                self._computed.add(item.vid)

    def clear(self) -> None:
        """The step ends."""
        for known in (self._sources, self._weights, self._made, self._computed, self._own):
            known.clear()

    def computed(self, tensor: Any) -> bool:
        """Whether a model or companion took part in a tensor."""
        return self._session.adapter.tag(tensor) in self._computed

    def given(self, tensor: Any) -> bool:
        """Whether a tensor is data, or made of data outside of all layers."""
        vid = self._session.adapter.tag(tensor)
        return vid is None or ((vid in self._sources or vid in self._made) and vid not in self._computed)

    def own_work(self, tensor: Any) -> bool:
        """Whether the candidate computed a tensor with models from nothing but what the reference has in this step."""
        vid = self._session.adapter.tag(tensor)
        return vid in self._computed and all(self._known(leaf) for leaf in self._made[vid])

    def _known(self, vid: int) -> bool:
        if vid not in self._own:
            tensor = self._sources.get(vid)
            self._own[vid] = tensor is not None and self._has(widen(*self._session.adapter.read(tensor)))
        return self._own[vid]

    def _has(self, values: np.ndarray) -> bool:
        """Whether the reference has these values in this step, of whatever element type, or they are a constant."""
        if values.size <= 1 or bool(np.all(values == values.reshape(-1)[0])):
            return True
        for ref in {ref.digest: ref for ref in self._data(self._session.step)}.values():
            if ref.size == values.size:
                theirs = self._reference.array(ref).reshape(values.shape)
                if np.array_equal(theirs, values) or (
                    "f" == values.dtype.kind == theirs.dtype.kind and distance(values, theirs) < 1e-6
                ):
                    return True
        return False

    def _data(self, step: int) -> list[TensorRef]:
        trace = self._reference
        found = [s.ref for s in trace.of(SourceEvent, step) if not s.origin.startswith("parameter:")]
        found += [item.ref for batch in trace.of(BatchEvent, step) for item in batch.items]
        found += [item.ref for call in trace.of(CallEvent, step) if call.parent is None for item in call.inputs]
        found += [item.ref for event in trace.of(AsideEvent, step) for item in event.inputs]
        return found + [item.ref for op in trace.of(OpEvent, step) if op.parent is None for item in op.outputs]

    def quiet(self, step: int) -> list[TensorRef]:
        """What the reference computed in a step with its models and companions beside what it differentiates."""
        if self._quiet[0] == step:
            return self._quiet[1]
        trace = self._reference
        names = [companion.name for companion in trace.companions]

        def beside(path: str) -> bool:
            return any(path == name or path.startswith(name + ".") for name in names)

        graph: set[int] = set()
        quiet: dict[int, TensorRef] = {}
        for event in trace.of(AsideEvent, step):
            quiet.update({item.vid: item.ref for item in event.outputs})
        for op in sorted(trace.of(OpEvent, step), key=lambda op: op.id):
            outputs = {item.vid: item.ref for item in op.outputs}
            if (op.parent is not None and not beside(op.path)) or not graph.isdisjoint(op.inputs):
                graph.update(outputs)
            elif op.parameters or not quiet.keys().isdisjoint(op.inputs):
                quiet.update(outputs)
        for call in trace.of(CallEvent, step):
            if not beside(call.path):
                graph.update(item.vid for item in call.outputs)
        found = [ref for vid, ref in quiet.items() if vid not in graph and "float" in ref.dtype]
        self._quiet = (step, found)
        return found

    def attempt(self, values: np.ndarray, data: list[TensorRef]) -> TensorRef | None:
        """What the reference computed that a tensor of unknown origin is near, nearer than to the reference's data.

        Args:
            values: The candidate's.
            data: The reference's tensors that it could be otherwise.
        """
        if values.dtype.kind != "f":
            return None
        near = min(((self._far(values, ref), n) for n, ref in enumerate(self.quiet(self._session.step))), default=None)
        if near is None or near[0] >= NEAR or any(self._far(values, ref) <= near[0] for ref in data):
            return None
        return self.quiet(self._session.step)[near[1]]

    def _far(self, values: np.ndarray, ref: TensorRef) -> float:
        if ref.size != values.size:
            return np.inf
        return distance(values, np.asarray(self._reference.array(ref), np.float64).reshape(values.shape))

    def likely(self, values: np.ndarray) -> TensorRef | None:
        """What the reference computed of the same shape, the one whose values are spread most alike."""
        fitting = [ref for ref in self.quiet(self._session.step) if ref.shape == values.shape]

        def unlike(ref: TensorRef) -> float:
            other = np.sort(np.asarray(self._reference.array(ref), np.float64).reshape(-1))
            return distance(np.sort(np.asarray(values, np.float64).reshape(-1)), other)

        return min(fitting, key=unlike) if fitting and values.dtype.kind == "f" else None
