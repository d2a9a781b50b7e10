"""Runs one MindSpore script under instruments and saves what it computed; knows nothing of the tool under test.

    python benchmarks/probe.py ms.py trace.npz [--weights weights.npz] [--steps 3]

The saved archive holds, in the order of execution, under keys `number|step|phase|path|call|tensor`:

* `initial`: every parameter before the first step, after `--weights` has been put in;
* `forward`: every output of every cell;
* `gradient`: the gradient of every parameter as it comes out of the backward pass, last layer first;
* `applied`: the gradients that the optimizer is given, without its own loss scale;
* `update`: what every parameter, trainable or not, gained in the step (after minus before).

`nn.Dropout` draws its masks from NumPy here, because MindSpore's on CPU are not reproducible between processes.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

import mindspore as ms
import numpy as np
import numpy.typing as npt
from masks import MaskStream
from mindspore import nn
from mindspore.experimental import optim

OPTIMIZERS = (nn.Optimizer, optim.Optimizer)
Array = npt.NDArray[Any]

_SLICE = re.compile(r"^(?P<name>.*)\[(?P<start>\d+):(?P<stop>\d+)\]$")


class Recorder:
    """Collects the tensors of the first steps of one script.

    Attributes:
        arrays: Everything collected so far, by the keys that this module's docstring explains.
    """

    def __init__(self, steps: int, weights: Mapping[str, Array]) -> None:
        self.arrays: dict[str, Array] = {}
        self._steps = steps
        self._weights = weights
        self._step = 0
        self._depth = 0
        self._in_optimizer = False
        self._calls: Counter[tuple[int, str, str]] = Counter()
        self._paths: dict[int, str] = {}
        self._named: list[Any] = []
        self._parameters: dict[str, Any] = {}
        self._values: dict[str, Array] = {}

    def install(self) -> None:
        """Puts the instruments into MindSpore, for the rest of this process."""
        original: Callable[..., Any] = nn.Cell.__call__

        def call(cell: Any, *args: Any, **kwargs: Any) -> Any:
            if self._in_optimizer or self._step >= self._steps:
                return original(cell, *args, **kwargs)
            if isinstance(cell, OPTIMIZERS):
                return self._optimize(original, cell, *args, **kwargs)
            if self._depth == 0:
                self._enter(cell)
            step = self._step
            self._depth += 1
            try:
                output = original(cell, *args, **kwargs)
            finally:
                self._depth -= 1
            self._record(step, "forward", self._path(cell), _tensors(output))
            return output

        nn.Cell.__call__ = call
        stream = MaskStream()

        def construct(cell: Any, x: Any) -> Any:
            if not cell.training or cell.p == 0:
                return x
            return x * ms.Tensor(stream.mask(tuple(x.shape), cell.p))

        nn.Dropout.construct = construct

    def _enter(self, root: Any) -> None:
        """Names the cells below a cell that the script calls; at the first model it puts the weights in."""
        if id(root) in self._paths:
            return
        self._named.append(root)  # keeps the ids of its cells from being used again
        model = _model_of(root)
        for path, cell in root.cells_and_names():
            self._paths[id(cell)] = f"<{type(root).__name__}>{path}"
        if model is None:
            return
        for path, cell in model.cells_and_names():
            self._paths[id(cell)] = path
        if self._parameters:
            return
        self._parameters = dict(_parameters_of(model))
        _load(self._parameters, self._weights)
        for path, parameter in self._parameters.items():
            self._values[path] = parameter.asnumpy().copy()
            self._record(0, "initial", path, [parameter])
            if parameter.requires_grad:
                parameter.register_hook(self._gradient_hook(path))

    def _gradient_hook(self, path: str) -> Callable[[Any], None]:
        def hook(gradient: Any) -> None:
            if self._step < self._steps:
                self._record(self._step, "gradient", path, [gradient])

        return hook

    def _optimize(self, original: Callable[..., Any], optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        paths = {id(parameter): path for path, parameter in self._parameters.items()}
        for parameter, gradient in zip(optimizer.parameters, args[0], strict=True):
            applied = gradient.asnumpy() / getattr(optimizer, "loss_scale", 1.0)
            self._record(self._step, "applied", paths.get(id(parameter), parameter.name), [applied])
        self._in_optimizer = True
        try:
            output = original(optimizer, *args, **kwargs)
        finally:
            self._in_optimizer = False
        for path, parameter in self._parameters.items():
            value = parameter.asnumpy().copy()
            self._record(self._step, "update", path, [value - self._values[path]])
            self._values[path] = value
        self._step += 1
        return output

    def _record(self, step: int, phase: str, path: str, tensors: list[Any]) -> None:
        call = self._calls[step, phase, path]
        self._calls[step, phase, path] += 1
        for number, tensor in enumerate(tensors):
            value = tensor if isinstance(tensor, np.ndarray) else tensor.asnumpy()
            self.arrays[f"{len(self.arrays):06d}|{step}|{phase}|{path}|{call}|{number}"] = value.copy()

    def _path(self, cell: Any) -> str:
        return self._paths.get(id(cell), f"<{type(cell).__name__}>")


def _model_of(root: Any) -> Any:
    """Gives the script's own model below training wrappers, or None where nothing is trained (a loss, say)."""
    cell = root
    while _trains(cell):
        wraps = type(cell).__module__.startswith(("mindspore.nn.wrap", "mindspore.train"))
        if not wraps and not any(isinstance(child, OPTIMIZERS) for child in cell.cells()):
            return cell
        cell = next(child for child in cell.cells() if _trains(child) and not isinstance(child, OPTIMIZERS))
    return None


def _trains(cell: Any) -> bool:
    return any(parameter.requires_grad for parameter in cell.get_parameters())


def _parameters_of(model: Any) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for path, cell in model.cells_and_names():
        for name, parameter in cell._params.items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{path}.{name}".lstrip("."), parameter


def _load(parameters: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
    """Writes weights by path; a key `path[a:b]` is a range of rows of that parameter. Other shapes stay as they are."""
    values: dict[str, Array] = {}
    for path, parameter in parameters.items():
        if parameter.has_init:
            parameter.init_data()
        values[path] = parameter.asnumpy().copy()
    for key, value in weights.items():
        match = _SLICE.match(key)
        path = match["name"] if match else key
        if path not in values:
            continue
        target = values[path][int(match["start"]) : int(match["stop"])] if match else values[path]
        if target.shape == value.shape:
            target[...] = value
    for path, parameter in parameters.items():
        parameter.set_data(ms.Tensor(values[path], parameter.dtype))


def _tensors(output: Any) -> list[Any]:
    if isinstance(output, ms.Tensor):
        return [output]
    if isinstance(output, (tuple, list)):
        return [tensor for item in output for tensor in _tensors(item)]
    if isinstance(output, dict):
        return [tensor for item in output.values() for tensor in _tensors(item)]
    return []


def main() -> None:
    """Runs the script that the command line names, as its own `__main__`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--weights", type=Path, help="archive of parameters to start from, by path")
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    weights: dict[str, Array] = dict(np.load(args.weights)) if args.weights else {}
    ms.runtime.launch_blocking()
    recorder = Recorder(args.steps, weights)
    recorder.install()
    sys.argv = [str(args.script)]
    sys.path[0] = str(args.script.resolve().parent)
    runpy.run_path(str(args.script), run_name="__main__")
    np.savez(args.output, **recorder.arrays)


if __name__ == "__main__":
    main()
