"""What hides a step from view in PyTorch is done in the open: compiled models, checkpoints, gradients as results."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.utils.checkpoint as checkpoint


def wrap_eager(adapter: Any) -> None:
    """Lets an adapter see models that are compiled or checkpointed, and gradients that `torch.autograd.grad` returns.

    Args:
        adapter: The adapter that is being installed; it takes the changes back.
    """

    def compile(model: Any = None, **_: Any) -> Any:
        adapter.session.note("torch.compile was not applied: the model was run eagerly")
        return model if model is not None else (lambda function: function)

    def compile_module(module: Any, *_: Any, **__: Any) -> None:
        compile(module)

    def checkpointed(function: Any, *args: Any, **kwargs: Any) -> Any:
        """Keeps what a checkpoint would compute again in the backward pass: the values are the same."""
        for option in _CHECKPOINT:
            kwargs.pop(option, None)
        return function(*args, **kwargs)

    def checkpointed_sequence(functions: Any, segments: int, input: Any, **_: Any) -> Any:
        for function in functions.children() if isinstance(functions, torch.nn.Sequential) else functions:
            input = function(input)
        return input

    adapter._replace(torch, "compile", compile)
    adapter._replace(torch.nn.Module, "compile", compile_module)
    adapter._replace(checkpoint, "checkpoint", checkpointed)
    adapter._replace(checkpoint, "checkpoint_sequential", checkpointed_sequence)
    adapter._replace(torch.autograd, "grad", _graded(adapter, torch.autograd.grad))


_CHECKPOINT = ("use_reentrant", "context_fn", "determinism_check", "debug", "preserve_rng_state", "early_stop")


def closed(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A step's arguments with the closure called already, so that its forward and backward pass are seen before it.

    L-BFGS calls its closure as often as it likes and keeps it.

    Args:
        optimizer: A torch optimizer.
        args: Positional arguments of its `step`, itself first.
        kwargs: Named ones.
    """
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None or isinstance(optimizer, torch.optim.LBFGS):
        return args, kwargs
    with torch.enable_grad():
        loss = closure()
    if "closure" in kwargs:
        return args, {**kwargs, "closure": lambda: loss}
    return (args[0], lambda: loss, *args[2:]), kwargs


def _graded(adapter: Any, grad: Any) -> Any:
    """`torch.autograd.grad`, which is a backward pass where it differentiates by the model's parameters."""

    @functools.wraps(grad)
    def wrapped(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        session = adapter.session
        roots = [outputs] if torch.is_tensor(outputs) else list(outputs)
        wanted = [inputs] if torch.is_tensor(inputs) else list(inputs)
        mine = [session.parameter_name(p) is not None for p in wanted]
        again = kwargs.get("create_graph", len(args) > 2 and args[2])
        if session.in_backward or session.adapter is not adapter or again or not any(mine):
            return grad(outputs, wanted, *args, **kwargs)
        parameters = [p for p, own in zip(wanted, mine, strict=True) if own]
        kept = [p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        session.backward_begins(roots[0] if len(roots) == 1 else None)
        try:
            found = list(grad(outputs, wanted, *args, **kwargs))
        except BaseException:
            session.in_backward = False
            raise
        for parameter, own, gradient in zip(wanted, mine, found, strict=True):
            if own:
                parameter.grad = gradient
        session.backward_ends()
        found = [p.grad if own else g for p, own, g in zip(wanted, mine, found, strict=True)]
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient
        return tuple(found)

    return wrapped
