"""Forcing in PyTorch: values and gradients put in at a boundary, the model in float64, the reference's ops promoted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_LOW = (torch.float32, torch.float16, torch.bfloat16)


class _Boundary(torch.autograd.Function):
    """Goes on with another value, and in the backward pass with another gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, values: np.ndarray, arrived: Callable[[Any], Any] | None) -> Any:
        ctx.arrived = arrived
        fresh = np.array(values).reshape(tuple(x.shape))
        return torch.from_numpy(fresh).to(dtype=x.dtype, device=x.device)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        if ctx.arrived is not None and not torch.is_grad_enabled():  # one that is differentiated again is left alone
            with torch._C.DisableTorchFunction():
                gradient = ctx.arrived(gradient)
        return gradient, None, None


def put(x: Any, values: np.ndarray, arrived: Callable[[Any], Any] | None = None) -> Any:
    """The tensor `x` with `values` in its place; `arrived(gradient)` may exchange the gradient that comes back.

    Args:
        x: A floating tensor.
        values: As many elements as `x`.
        arrived: Called in the backward pass with the gradient at the boundary; returns the one to go on with.
    """
    return _Boundary.apply(x, values, arrived)


def double(root: Any) -> None:
    """Takes a model to float64, also where the script calls it in inference mode."""
    with torch.inference_mode(False):
        root.double()


def promote(args: Any, kwargs: Any, name: str) -> tuple[Any, Any]:
    """Arguments of an op with low-precision tensors and dtypes lifted to float64 where a float64 tensor takes part.

    Returns:
        The positional and the keyword arguments.
    """
    flat = [*args, *kwargs.values()]
    nested = [t for value in flat for t in (value if isinstance(value, (list, tuple)) else [value])]
    if name.startswith("_amp_") or not any(isinstance(t, torch.Tensor) and t.dtype is torch.float64 for t in nested):
        return args, kwargs  # a GradScaler's own ops want their scales in float32, beside gradients of any precision
    inplace = name.endswith("_") and not name.endswith("__")

    def lift(value: Any, position: int) -> Any:
        if isinstance(value, torch.Tensor):
            if value.dtype in _LOW and not (inplace and position == 0):
                return value.to(torch.float64)
            return value
        if value in _LOW if isinstance(value, torch.dtype) else False:
            return torch.float64
        if isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value):
            return type(value)(lift(v, 1) for v in value) if not hasattr(value, "_fields") else value
        return value

    with torch._C.DisableTorchFunction():
        new = tuple(lift(a, i) for i, a in enumerate(args))
        named = {k: lift(v, 1) for k, v in kwargs.items() if k != "out"} | {
            k: v for k, v in kwargs.items() if k == "out"
        }
    return new, named


def no_autocast() -> Callable[[], None]:
    """Switches autocast off for good, also where the script is inside it; returns what lets it be switched on again."""
    kind = torch.amp.autocast_mode.autocast
    for device in ("cpu", "cuda"):
        torch.set_autocast_enabled(device, False)
    enter, leave = kind.__enter__, kind.__exit__
    kind.__enter__ = lambda self: self
    kind.__exit__ = lambda self, *_: None

    def undo() -> None:
        kind.__enter__, kind.__exit__ = enter, leave

    return undo


def padding_rows(layer: Any, x: Any) -> np.ndarray | None:
    """Where an embedding drops the gradient that arrives at its output, because the index is that of padding.

    Args:
        layer: A module.
        x: Its input.

    Returns:
        Booleans that broadcast with the output; None where the layer is none that pads.
    """
    if not isinstance(layer, torch.nn.Embedding) or layer.padding_idx is None or x is None:
        return None
    with torch._C.DisableTorchFunction():
        return (x == layer.padding_idx).unsqueeze(-1).numpy()


def flat_values(tensor: Any) -> list[float]:
    """The values at which the op that made a tensor is flat, and lets no gradient through: 0 of a ReLU."""
    made = tensor.grad_fn
    while made is not None and made.name() == "_BoundaryBackward":
        made = made.next_functions[0][0]
    name = made.name() if made is not None else ""
    if name in ("ReluBackward0", "ThresholdBackward0"):
        return [0.0]
    if name == "HardtanhBackward0":
        return [made._saved_min_val, made._saved_max_val]
    return []


def absolute_terms(name: str, inputs: list[Any], position: int, gradient: Any) -> np.ndarray | None:
    """The sum of the absolute terms of the gradient that an op sends back to one of its two inputs.

    Args:
        name: The op.
        inputs: What it took, at least one of them.
        position: Of the input that is asked about.
        gradient: What came back to its output.

    Returns:
        Float64 of the input's shape; None for ops of which nothing is known.
    """
    own, g = inputs[position], gradient.detach().abs().double()
    with torch.no_grad(), torch._C.DisableTorchFunction():
        other = inputs[1 - position].detach().abs().double() if len(inputs) == 2 else None
        if name in ("add", "sub", "rsub"):
            terms = g
        elif name == "mul":
            terms = g if other is None else g * other
        elif name in ("matmul", "mm") and other is not None and own.dim() == 2 and min(other.dim(), g.dim()) >= 2:
            terms = other.reshape(-1, other.shape[-1]).T @ g.reshape(-1, g.shape[-1]) if position else g @ other.mT
        else:
            return None
        if terms.dim() < own.dim():
            return None
        return np.asarray(terms.sum_to_size(own.shape).cpu().numpy())


def cancelled(output: Any, gradient: Any) -> float:
    """The size of the terms of a log-softmax's gradient as a multiple of the gradient's own, from 1 to 1000.

    Args:
        output: Logarithms of probabilities.
        gradient: What came back to them.
    """
    with torch.no_grad(), torch._C.DisableTorchFunction():
        p, g = output.detach().double().exp(), gradient.detach().double()
        one = torch.ones((), dtype=p.dtype, device=p.device)
        axis = next((d for d in (-1, 1, 0) if p.dim() > max(d, 0) and torch.allclose(p.sum(d), one)), None)
        if axis is None:
            return 1.0
        result = g - p * g.sum(axis, keepdim=True)
        terms = g.abs() + p * g.abs().sum(axis, keepdim=True)
        return float(min(1e3, max(1.0, terms.norm() / max(float(result.norm()), 1e-300))))


def sums_of_absolute_terms(layer: Any, x: Any, gradient: Any) -> dict[str, np.ndarray]:
    """For each parameter of a known layer, the sum of the absolute terms of its gradient.

    The gradient of a bias sums the arriving gradient, that of a scale sums its product with the normalised input, that
    of a linear or convolution weight sums products: where these terms cancel, rounding follows their size and not
    the sum's.

    Args:
        layer: A module.
        x: Its input, float64.
        gradient: The gradient at its output, float64.
    """
    nn, f = torch.nn, torch.nn.functional
    g = gradient.abs()
    found: dict[str, Any] = {}
    with torch.no_grad(), torch._C.DisableTorchFunction():
        if isinstance(layer, nn.Linear):
            found["weight"] = g.reshape(-1, g.shape[-1]).T @ x.abs().reshape(-1, x.shape[-1])
            found["bias"] = g.reshape(-1, g.shape[-1]).sum(0)
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and layer.padding_mode == "zeros":
            weights = {
                nn.Conv1d: nn.grad.conv1d_weight,
                nn.Conv2d: nn.grad.conv2d_weight,
                nn.Conv3d: nn.grad.conv3d_weight,
            }
            kind = next(k for k in weights if isinstance(layer, k))
            if not isinstance(layer.padding, str) and g.dim() == layer.weight.dim():
                found["weight"] = weights[kind](
                    x.abs(), layer.weight.shape, g, layer.stride, layer.padding, layer.dilation, layer.groups
                )
            found["bias"] = g.transpose(0, 1).reshape(g.shape[1], -1).sum(1) if g.dim() > 2 else None
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            axes = [0, *range(2, x.dim())]
            normal = f.batch_norm(x, layer.running_mean, layer.running_var, None, None, layer.training, 0.0, layer.eps)
            if layer.training and layer.track_running_stats:
                normal = f.batch_norm(x, None, None, None, None, True, 0.0, layer.eps)
            found["weight"], found["bias"] = (g * normal.abs()).sum(axes), g.sum(axes)
        elif isinstance(layer, nn.LayerNorm):
            axes = list(range(x.dim() - len(layer.normalized_shape)))
            normal = f.layer_norm(x, layer.normalized_shape, None, None, layer.eps)
            found["weight"] = (g * normal.abs()).sum(axes) if axes else g * normal.abs()
            found["bias"] = g.sum(axes) if axes else g
        elif isinstance(layer, nn.GroupNorm):
            axes = [0, *range(2, x.dim())]
            normal = f.group_norm(x, layer.num_groups, None, None, layer.eps)
            found["weight"], found["bias"] = (g * normal.abs()).sum(axes), g.sum(axes)
    return {role: v.numpy() for role, v in found.items() if v is not None and getattr(layer, role, None) is not None}
