"""Noise passes: a reference again and again with everything moved by a unit of rounding, to see what that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from parity.align.values import rms, tame
from parity.capture.frameworks.base import replace_tensors
from parity.capture.memory import Memory
from parity.capture.record import Recorder
from parity.capture.session import Frame
from parity.capture.source import Source
from parity.model import (
    BufferEvent,
    CallEvent,
    Event,
    GradEvent,
    LossEvent,
    OptimizerEvent,
    ParameterGradEvent,
    TensorEvent,
    TensorRef,
)
from parity.noise import Key, Noise, write_noise
from parity.statistics import widen
from parity.trace import Trace

PASSES = 3
"""Runs with moved values; a scalar noise estimate from fewer is unreliable."""

_UNIT = 2.0**-24


class NoisePass(Recorder):
    """Follows the script as the recording did, with moved weights, inputs, and in PyTorch results of layers and ops.

    Args:
        source: Which files are the script's own.
        base: The recorded trace, which every value is held against.
        noise: What was found so far, by place; the largest stays.
        seed: Which random moves.
    """

    def __init__(self, source: Source, base: Trace, noise: dict[Key, Noise], seed: int) -> None:
        self._held = Memory()
        super().__init__(self._held, source, base.meta.steps, base.meta.inference)  # type: ignore[arg-type]
        self._held.heard = self._heard
        self.base = base
        self.noise = noise
        self._generator = np.random.default_rng([11, seed])
        self._places: dict[int, tuple[str, int]] = {}
        self._known = {key: ref for event in base.events for key, ref in _tensors(event, {})}
        calls = {call.id: (call.path, call.call) for call in base.of(CallEvent)}
        self._known |= {key: ref for event in base.of(GradEvent) for key, ref in _tensors(event, calls)}

    initials = False
    meters = False

    def _heard(self, event: Event) -> None:
        if isinstance(event, CallEvent):
            self._places[event.id] = (event.path, event.call)
        for key, ref in _tensors(event, self._places):
            known = self._known.get(key)
            if known is None or known.shape != ref.shape or "float" not in ref.dtype:
                continue
            mine = tame(np.asarray(self.base.array(known), np.float64))
            with np.errstate(invalid="ignore", over="ignore"):
                moved = tame(np.asarray(self._held.arrays[ref.digest], np.float64)) - mine
            found = rms(np.where(np.isfinite(moved), moved, 0.0))
            before = self.noise.get(key)
            self.noise[key] = Noise(*key, max(found, before.noise if before else 0.0), rms(mine))

    def _moved(self, values: np.ndarray) -> np.ndarray:
        wide: np.ndarray = np.asarray(values, np.float64)
        return np.asarray(wide * (1 + _UNIT * self._generator.uniform(-1, 1, wide.shape)))

    def _on_model(self) -> None:
        super()._on_model()
        self.busy = True
        for held in self.held:
            values = widen(*self.adapter.read(held.tensor))
            if values.dtype.kind == "f":
                self.adapter.assign(held.tensor, self._moved(values).astype(values.dtype))
        self.busy = False

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if any(frame.layer is root for root in self.roots):
            args = replace_tensors(tuple(args), self._move_input, self.adapter.is_tensor)
            kwargs = replace_tensors(kwargs, self._move_input, self.adapter.is_tensor)
        return super()._on_enter(frame, args, kwargs)

    def _move_input(self, name: str, tensor: Any) -> Any:
        self.busy = True
        values, dtype = self.adapter.read(tensor)
        plain = dtype in ("float32", "float64") and not self.adapter.is_parameter(tensor)
        made = self.adapter.tag(tensor) is not None
        new = tensor if not plain or made else self.adapter.make(self._moved(values).astype(values.dtype), tensor)
        self.busy = False
        return new

    def _on_op(self, name: str, inputs: list[Any], outputs: Any, view: bool, inplace: bool, reduction: int) -> Any:
        if not (view or inplace) and self.adapter.name == "torch" and self.adapter.is_tensor(outputs):
            outputs = self._move_result(outputs)
        return super()._on_op(name, inputs, outputs, view, inplace, reduction)

    def _move_result(self, tensor: Any) -> Any:
        from parity.capture.frameworks.torch_force import put

        if not tensor.is_floating_point() or tensor.numel() == 0:
            return tensor
        busy, self.busy = self.busy, True
        values, dtype = self.adapter.read(tensor)

        def arrived(gradient: Any) -> Any:
            inner, self.busy = self.busy, True
            moved = self.adapter.make(self._moved(widen(*self.adapter.read(gradient))), gradient)
            self.busy = inner
            return moved

        new = put(tensor, self._moved(widen(values, dtype)), arrived if tensor.requires_grad else None)
        self.busy = busy
        return new

    def _on_step_done(self) -> None:
        super()._on_step_done()
        self._held.arrays.clear()
        self._places.clear()


def _tensors(event: Event, places: dict[int, tuple[str, int]]) -> list[tuple[Key, TensorRef]]:
    """The tensors of a record that are compared, each by its place in the run."""
    if isinstance(event, CallEvent):
        return [((event.step, "output", event.path, event.call, item.name), item.ref) for item in event.outputs]
    if isinstance(event, GradEvent) and event.call in places:
        path, call = places[event.call]
        return [((event.step, "gradient", path, call, event.item), event.ref)]
    if isinstance(event, LossEvent):
        return [((event.step, "loss", "", event.backward, ""), event.ref)]
    if isinstance(event, ParameterGradEvent):
        return [((event.step, "parameter-gradient", event.name, event.backward, ""), event.ref)]
    if isinstance(event, OptimizerEvent):
        return [((event.step, "parameter", name, event.index, ""), ref) for name, ref in event.after.items()]
    if isinstance(event, BufferEvent):
        return [((event.step, "buffer", name, 0, ""), ref) for name, ref in event.values.items()]
    assert not isinstance(event, TensorEvent)
    return []


def run_noise(path: Path, script: Path, args: list[str], frameworks: Any) -> None:
    """Runs the passes over a recorded script and adds `noise.json` to its trace.

    Args:
        path: The folder of the trace, complete or about to be.
        script: The script.
        args: Its arguments.
        frameworks: The adapters that are installed.
    """
    from parity.capture.run import run_script, silence

    base = Trace(path)
    noise: dict[Key, Noise] = {}
    done = 0
    for seed in range(PASSES):
        session = NoisePass(Source(script), base, noise, seed)
        frameworks.follow(session)
        with silence():
            outcome = run_script(script, args, frameworks.seeders())
        session.script_ended(outcome.kind == "ended")
        session.finished = True
        if session.step == 0:
            break
        done += 1
    if done == PASSES:
        write_noise(path, list(noise.values()))
