"""Runs one PyTorch script and saves its initial weights and its first gradients; the counterpart of `probe.py`.

    python benchmarks/probe_torch.py ref.py trace.npz

The archive holds `initial|path` for every parameter and buffer before the first step, and `gradient|path` for every
parameter's gradient as the optimizer's first step finds it.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from masks import MaskStream
from torch.optim.optimizer import register_optimizer_step_pre_hook

Array = npt.NDArray[Any]


def install(arrays: dict[str, Array]) -> None:
    """Puts the instruments into torch; they fill `arrays` while the script runs."""
    original = torch.nn.Module.__call__
    names: dict[int, str] = {}

    def call(module: Any, *args: Any, **kwargs: Any) -> Any:
        if not names and any(True for _ in module.parameters()):
            names.update({id(parameter): name for name, parameter in module.named_parameters()})
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                arrays[f"initial|{name}"] = tensor.detach().numpy().copy()
        return original(module, *args, **kwargs)

    def before_step(optimizer: Any, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    arrays.setdefault(f"gradient|{names[id(parameter)]}", parameter.grad.numpy().copy())

    stream = MaskStream()

    def dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        if not training or p == 0:
            return input
        return input * torch.from_numpy(stream.mask(tuple(input.shape), p))

    torch.nn.Module.__call__ = call
    torch.nn.functional.dropout = dropout
    register_optimizer_step_pre_hook(before_step)


def main() -> None:
    """Runs the script that the command line names, as its own `__main__`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    arrays: dict[str, Array] = {}
    install(arrays)
    sys.argv = [str(args.script)]
    sys.path[0] = str(args.script.resolve().parent)
    runpy.run_path(str(args.script), run_name="__main__")
    np.savez(args.output, **arrays)


if __name__ == "__main__":
    main()
