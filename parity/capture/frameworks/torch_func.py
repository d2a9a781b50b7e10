"""`torch.func` in the open: gradients that it takes through its own levels are taken by ordinary backward passes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.func
from torch.utils._pytree import tree_flatten, tree_unflatten


def transformed() -> bool:
    """Whether a transform of `torch.func` is at work: its tensors have no storage, and no layer is followed there."""
    return torch._C._functorch.maybe_current_level() is not None


def wrap_transforms(adapter: Any) -> None:
    """Lets an adapter see what `torch.func.grad` and `grad_and_value` do; inside other transforms they stay.

    Args:
        adapter: The adapter that is being installed; it takes the changes back.
    """
    adapter._replace(torch.func, "grad", _opened(adapter, torch.func.grad, both=False))
    adapter._replace(torch.func, "grad_and_value", _opened(adapter, torch.func.grad_and_value, both=True))


def _opened(adapter: Any, original: Callable[..., Any], both: bool) -> Callable[..., Any]:
    """A transform whose functions differentiate by `torch.autograd.grad`, by the model's own parameters where their
    values are what is given.
    """

    @functools.wraps(original)
    def transform(func: Any, argnums: Any = 0, has_aux: bool = False) -> Any:
        nested = original(func, argnums, has_aux)

        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if transformed():
                return nested(*args, **kwargs)
            chosen = [argnums] if isinstance(argnums, int) else list(argnums)
            leaves, tree = tree_flatten([args[n] for n in chosen])
            if not all(torch.is_tensor(leaf) and leaf.is_floating_point() for leaf in leaves):
                return nested(*args, **kwargs)
            everything = [t for t in tree_flatten([args, kwargs])[0] if torch.is_tensor(t)]
            outside = torch.is_grad_enabled() and any(t.requires_grad for t in everything)
            known = {_place(p): p for o in adapter.session.optimizers for p in adapter.optimizer_parameters(o)}
            by = [known.get(_place(leaf)) for leaf in leaves]
            by = [_fresh(leaf) if own is None else own for leaf, own in zip(leaves, by, strict=True)]
            given = list(args)
            for number, value in zip(chosen, tree_unflatten(by, tree), strict=True):
                given[number] = value
            with torch.enable_grad():
                output = func(*given, **kwargs)
                loss, aux = output if has_aux else (output, None)
                found = torch.autograd.grad(loss, by, create_graph=outside, allow_unused=True)
            found = [torch.zeros_like(t) if g is None else g for t, g in zip(by, found, strict=True)]
            value = loss
            if not outside:
                with torch._C.DisableTorchFunction():
                    found, value = [g.detach() for g in found], loss.detach()
            gradients = tree_unflatten(found, tree)
            result = gradients[0] if isinstance(argnums, int) else tuple(gradients)
            if both:
                return result, (value, aux) if has_aux else value
            return (result, aux) if has_aux else result

        return wrapped

    return transform


def _place(tensor: Any) -> tuple[int, torch.Size]:
    """Where a tensor's values lie: equal for a parameter and its detached self."""
    return tensor.data_ptr(), tensor.shape


def _fresh(leaf: Any) -> Any:
    """The same values as something to differentiate by."""
    with torch._C.DisableTorchFunction():
        return leaf if leaf.requires_grad else leaf.detach().requires_grad_()
