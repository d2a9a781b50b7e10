"""How much a fault really changes, measured without the tool under test.

The clean and the faulty `ms.py` run alone, with identical weights and data, under `probe.py`. MindSpore on CPU repeats
itself bit by bit (which is checked here for every architecture), so the first tensor that differs at all is where the
fault sits, and its distance is the effect. The loss counts as a tensor too, with the digits that the script prints.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from corpus import FAULTS, STEPS, Variant

Array = npt.NDArray[Any]
HERE = Path(__file__).resolve().parent

CLASSES = (">1e-2", "1e-4..1e-2", "1e-6..1e-4", "<1e-6", "none")
_LOSS = re.compile(r"loss(?: is)?\s*[:=]?\s*(?P<value>[-+0-9.e]+)")
_FLOORS = (1e-2, 1e-4, 1e-6, 0.0)


class Key(NamedTuple):
    """Which tensor of a run: `call` counts the calls of one path within a step, `tensor` the tensors of one call."""

    step: int
    phase: str
    path: str
    call: int
    tensor: int


Trace = Mapping[Key, Array]


@dataclass(frozen=True)
class Effect:
    """The relative RMS distance at the first tensor that differs, or None where none of all steps differs."""

    value: float | None
    place: str

    @property
    def bucket(self) -> str:
        """The class by which totals group it."""
        return bucket(self.value)


class ProbeError(RuntimeError):
    """A script that failed under the probe; the message holds the end of what it printed."""


def bucket(value: float | None) -> str:
    """Gives the class of an effect."""
    if value is None:
        return "none"
    return next(name for name, floor in zip(CLASSES, _FLOORS, strict=False) if value > floor)


def effect(clean: Trace, faulty: Trace) -> Effect:
    """Finds the first tensor, in the clean run's order of execution, that the faulty run computes differently.

    Tensors that only one run has, or that have another shape, are passed over: of a fault that changes the structure,
    the first common tensor after it counts.
    """
    for key, value in clean.items():
        other = faulty.get(key)
        if other is None or other.shape != value.shape or key.phase == "initial":
            continue
        if not np.array_equal(value, other, equal_nan=True):
            return Effect(distance(value, other), f"step {key.step} {key.phase} {key.path or '(root)'}")
    return Effect(None, "")


def distance(clean: Array, faulty: Array) -> float:
    """Gives the RMS of the difference divided by the RMS of the clean value (absolute where that is 0)."""
    expected = clean.astype(np.float64)
    difference = faulty.astype(np.float64) - expected
    error, scale = (float(np.sqrt(np.mean(np.square(x)))) for x in (difference, expected))
    return error / scale if scale else error


def losses(text: str) -> list[float]:
    """Reads the losses of the compared steps from what a script printed."""
    return [float(match["value"]) for match in _LOSS.finditer(text)][:STEPS]


def with_losses(trace: Trace, text: str) -> dict[Key, Array]:
    """Adds the printed losses to a trace, each before the first gradient of its step."""
    printed = dict(zip(range(STEPS), losses(text), strict=True))
    merged: dict[Key, Array] = {}
    for key, value in trace.items():
        if key.phase == "gradient" and key.step in printed:
            merged[Key(key.step, "loss", "", 0, 0)] = np.asarray(printed.pop(key.step))
        merged[key] = value
    return merged


def read_trace(path: Path) -> dict[Key, Array]:
    """Reads what `probe.py` saved, in the order of execution."""
    trace = {}
    with np.load(path) as archive:
        for name in archive.files:
            _, step, phase, layer, call, tensor = name.split("|")
            trace[Key(int(step), phase, layer, int(call), int(tensor))] = archive[name]
    return trace


def probe(script: Path, output: Path, weights: Path | None = None, module: str = "probe.py") -> str:
    """Runs a script under a probe in a process of its own and gives what it printed.

    Raises:
        ProbeError: The script failed or took longer than 300 seconds.
    """
    command = [sys.executable, str(HERE / module), str(script.resolve()), str(output.resolve())]
    if module == "probe.py":
        command += ["--steps", str(STEPS)]
    if weights is not None:
        command += ["--weights", str(weights.resolve())]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "GLOG_v": "3"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, cwd=script.parent, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"{script}: no end after {error.timeout:.0f} seconds") from error
    if done.returncode or not output.exists():
        raise ProbeError(f"{script}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def traced(script: Path, output: Path, weights: Path | None = None) -> dict[Key, Array]:
    """Runs a MindSpore script under the probe and gives everything that it computed."""
    text = probe(script, output, weights)
    return with_losses(read_trace(output), text)


def measure(architecture: str, faults: Iterable[Variant], jobs: int) -> dict[str, Effect]:
    """Measures the effects of some faults of one architecture, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="parity-effects-") as name:
        root = Path(name)
        script = FAULTS / architecture / "ms.py"
        weights = root / "weights.npz"
        clean = traced(script, root / "clean.npz")
        np.savez(weights, **{key.path: value for key, value in clean.items() if key.phase == "initial"})
        again = effect(clean, traced(script, root / "again.npz", weights))
        if again.value is not None:
            raise ProbeError(f"{script} does not repeat itself: {again.place} differs by {again.value:.1e}")

        def one(fault: Variant) -> tuple[str, Effect]:
            folder = root / fault.name
            fault.write(folder)
            return fault.name, effect(clean, traced(folder / "ms.py", folder / "trace.npz", weights))

        with ThreadPoolExecutor(jobs) as pool:
            return dict(pool.map(one, faults))


def save(architecture: str, faults: Iterable[Variant], jobs: int) -> dict[str, Effect]:
    """Measures the effects of all faults of one architecture and writes `effects.json`."""
    faults = list(faults)
    effects = measure(architecture, faults, jobs)
    document = {
        fault.name: {
            "effect": effects[fault.name].value,
            "place": effects[fault.name].place,
            "digest": fault.digest(),
        }
        for fault in faults
    }
    path = FAULTS / architecture / "effects.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return effects
