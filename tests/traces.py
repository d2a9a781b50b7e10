"""Scripts captured by the command line, opened as traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from conftest import Parity

from parity.model import CallEvent, GradEvent, InitialEvent, LayerInfo, OptimizerEvent, ParameterGradEvent
from parity.trace import Trace


class Captured:
    """A captured script: its text, what it printed, and its trace.

    Args:
        folder: Where the script is run.
        text: The script.
        words: Further words of the command line.
    """

    def __init__(self, folder: Path, text: str, *words: str | Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        parity = Parity(folder)
        self.text = text
        self.path = folder / "run.trace"
        parity.write("script.py", text)
        done = parity("capture", "script.py", "-o", self.path, *words)
        assert done.code == 0, done.err
        self.printed = done.out + done.err
        self.trace = Trace(self.path)

    def numbers(self, word: str) -> list[float]:
        """The numbers that the script printed behind a word, one a line."""
        lines = [line.split() for line in self.printed.splitlines()]
        return [float(line[1]) for line in lines if line[:1] == [word] and len(line) > 1]

    def line(self, part: str) -> int:
        """The number of the only line of the script that holds a text."""
        (number,) = [n for n, line in enumerate(self.text.splitlines(), 1) if part in line]
        return number

    def layer(self, path: str) -> LayerInfo:
        """The only layer at a path."""
        (found,) = [layer for layer in self.trace.layers if layer.path == path]
        return found

    def calls(self, path: str, step: int = 0) -> list[CallEvent]:
        """The calls of a layer in a step."""
        return [call for call in self.trace.of(CallEvent, step) if call.path == path]

    def array(self, ref: Any) -> np.ndarray:
        """A tensor in float64."""
        return np.asarray(self.trace.array(ref), np.float64)

    def output(self, path: str, step: int = 0, call: int = 0, item: int = 0) -> np.ndarray:
        """What a layer call returned."""
        return self.array(self.calls(path, step)[call].outputs[item].ref)

    def gradient(self, path: str, step: int = 0, call: int = 0) -> np.ndarray:
        """The gradient that arrived at a layer call's only output."""
        number = self.calls(path, step)[call].id
        (event,) = [event for event in self.trace.of(GradEvent, step) if event.call == number]
        return self.array(event.ref)

    def parameter_gradients(self, step: int = 0) -> dict[str, np.ndarray]:
        """Gradients by parameter name; asserts that none is recorded twice."""
        events = self.trace.of(ParameterGradEvent, step)
        assert len({event.name for event in events}) == len(events)
        return {event.name: self.array(event.ref) for event in events}

    def initialized(self, name: str) -> InitialEvent:
        """How the only parameter of a name got its first values."""
        (event,) = [event for event in self.trace.of(InitialEvent) if event.name == name]
        return event

    def initial_values(self, name: str) -> np.ndarray:
        """The first values of a parameter."""
        ref = self.initialized(name).values
        assert ref is not None
        return self.array(ref)

    def update(self, step: int = 0) -> OptimizerEvent:
        """The only optimizer call of a step."""
        (event,) = self.trace.of(OptimizerEvent, step)
        return event

    def updated(self, what: str, step: int = 0) -> dict[str, np.ndarray]:
        """The `given`, `before` or `after` tensors of the optimizer call by parameter name."""
        return {name: self.array(ref) for name, ref in getattr(self.update(step), what).items()}

    def initial(self) -> dict[str, np.ndarray]:
        """Parameters and buffers before the first step."""
        return {p.name: self.array(p.ref) for p in self.trace.parameters}

    def own(self) -> dict[str, np.ndarray]:
        """The same as the script itself had set them."""
        return {p.name: self.array(p.own) for p in self.trace.parameters}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def cross_entropy_gradient(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of the mean over a batch [N, C], by the logits."""
    return np.asarray((softmax(logits) - np.eye(logits.shape[1])[labels]) / len(labels))
