"""What the PyTorch adapter knows of ops: which rearrange, which draw at random, how long their sums are."""

from __future__ import annotations

import math
from typing import Any

import torch

VIEWS = frozenset(
    [
        "view",
        "reshape",
        "view_as",
        "reshape_as",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "transpose",
        "permute",
        "t",
        "mT",
        "T",
        "H",
        "mH",
        "swapaxes",
        "swapdims",
        "movedim",
        "moveaxis",
        "expand",
        "expand_as",
        "contiguous",
        "split",
        "split_with_sizes",
        "tensor_split",
        "chunk",
        "unbind",
        "select",
        "narrow",
        "getitem",
        "detach",
        "clone",
        "to",
        "type",
        "type_as",
        "float",
        "double",
        "half",
        "bfloat16",
        "cpu",
        "cuda",
        "alias",
        "diagonal",
        "adjoint",
        "ravel",
        "numpy_T",
        "squeeze_",
        "unsqueeze_",
        "transpose_",
        "t_",
        "requires_grad_",
        "repeat",
        "repeat_interleave",
        "tile",
        "stack",
        "cat",
        "concat",
        "concatenate",
        "hstack",
        "vstack",
        "pad",
        "roll",
        "flip",
        "index_select",
        "gather",
        "broadcast_to",
        "unfold",
        "identity",
        "positive",
        "broadcast_tensors",
        "atleast_1d",
        "atleast_2d",
        "resolve_conj",
        "_to_copy",
        "new_tensor",
    ]
)
"""Ops that only rearrange, copy or convert: their output differs only where an input or an index does."""

IGNORED = {
    torch.Tensor.size, torch.Tensor.dim, torch.Tensor.numel, torch.Tensor.stride, torch.Tensor.item,
    torch.Tensor.backward, torch.Tensor.register_hook, torch.Tensor.numpy, torch.Tensor.tolist,
    torch.Tensor.__repr__, torch.Tensor.__len__, torch.Tensor.__format__, torch.Tensor.is_contiguous,
    torch.Tensor.storage_offset, torch.Tensor.data_ptr, torch.Tensor.requires_grad_, torch.Tensor.retain_grad,
    torch.Tensor.__deepcopy__, torch.Tensor.__hash__, torch.is_floating_point, torch.Tensor.is_floating_point,
    torch.Tensor.element_size, torch.Tensor.__bool__, torch.Tensor.__int__, torch.Tensor.__float__,
    torch.Tensor.__index__, torch.Tensor.__reduce_ex__, torch.Tensor.is_complex, torch.is_complex,
}  # fmt: skip

_SYMBOLS = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add_", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul_",
    "__sub__": "sub", "__rsub__": "rsub", "__isub__": "sub_", "__truediv__": "div", "__rtruediv__": "div",
    "__itruediv__": "div_", "__matmul__": "matmul", "__rmatmul__": "matmul", "__pow__": "pow", "__rpow__": "pow",
    "__neg__": "neg", "__eq__": "eq", "__ne__": "ne", "__lt__": "lt", "__gt__": "gt", "__le__": "le", "__ge__": "ge",
    "__and__": "logical_and", "__or__": "logical_or", "__invert__": "logical_not", "__setitem__": "setitem_",
    "__abs__": "abs", "__div__": "div", "__floordiv__": "floor_divide", "__mod__": "remainder", "__xor__": "xor",
    "__getitem__": "getitem",
}  # fmt: skip


TRANSPOSED = frozenset(["T", "mT", "H", "mH"])
"""Attributes of a tensor that are ops."""


def name_of(func: Any) -> str:
    """The op's usual name: `add` for `Tensor.__add__` and for `torch.add`."""
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return _SYMBOLS.get(name, name)


def is_inplace(name: str) -> bool:
    """Whether the op changes its first argument."""
    return name.endswith("_") and not name.endswith("__")


def reduction_of(name: str, inputs: list[Any], result: Any) -> int:
    """Number of terms in the longest sum behind one element of the output."""
    if not inputs:
        return 1
    first = inputs[0]
    if name in ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "mv", "dot", "bilinear"):
        return int(first.shape[-1]) if first.dim() else 1
    if name.startswith("conv") and len(inputs) > 1:
        weight = inputs[1]
        return int(math.prod(weight.shape[1:] if "transpose" not in name else (weight.shape[0], *weight.shape[2:])))
    if name == "scaled_dot_product_attention":
        return int(max(first.shape[-1], inputs[1].shape[-2]))
    if name == "batch_norm":
        return int(first.numel() // max(1, first.shape[1]))
    if name in ("layer_norm", "softmax", "log_softmax", "rms_norm", "logsumexp"):
        return int(first.shape[-1])
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"):
        return int(first.shape[-1]) * 4
    size = result.numel() if torch.is_tensor(result) else 0
    if size and first.numel() > size:
        return max(1, int(first.numel() // size))
    return 1


def _keep(shape: Any, p: float, like: Any) -> torch.Tensor:
    return torch.bernoulli(torch.full(tuple(shape), 1.0 - p, dtype=torch.float32, device=like.device))


def _dropout(adapter: Any, x: Any, p: float, shape: Any) -> Any:
    if p <= 0:
        return x * 1
    if p >= 1:
        return x * 0
    mask = adapter.session.random("mask", tuple(shape), lambda: _keep(shape, p, x))
    mask = (mask if torch.is_tensor(mask) else torch.from_numpy(mask)).to(x.dtype).reshape(tuple(shape))
    return x * mask / (1 - p)


def _attention(adapter: Any, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
               is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Any:  # fmt: skip
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    scores = query @ key.transpose(-2, -1) * (scale if scale is not None else query.size(-1) ** -0.5)
    if is_causal:
        attn_mask = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = torch.softmax(scores, -1)
    return _dropout(adapter, weights, dropout_p, weights.shape) @ value


_DRAWS = {
    "rand": "uniform", "rand_like": "uniform", "uniform_": "uniform", "randn": "normal", "randn_like": "normal",
    "normal_": "normal", "normal": "normal", "bernoulli": "mask", "bernoulli_": "mask", "randint": "integer",
    "randint_like": "integer", "randperm": "integer", "multinomial": "integer", "random_": "integer",
    "exponential_": "other", "trunc_normal_": "normal", "poisson": "other",
}  # fmt: skip
_DROPOUTS = {"dropout", "dropout_", "native_dropout", "feature_dropout", "feature_dropout_"}


def random_call(name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], adapter: Any) -> Any:
    """Runs an op that draws at random, with a draw that the session may replace; None for all others."""
    session = adapter.session
    if name in _DROPOUTS and args:
        x, p, train = (*args, *kwargs.values(), 0.5, True)[:3] if len(args) + len(kwargs) >= 3 else (args[0], 0.5, True)
        if not train or not p:
            return None
        shape = (*x.shape[:2], *[1] * (x.dim() - 2)) if name.startswith("feature") else x.shape
        busy, session.busy = session.busy, True
        try:
            out = _dropout(adapter, x, float(p), shape)
        finally:
            session.busy = busy
        return x.copy_(out) if is_inplace(name) else out
    if name == "scaled_dot_product_attention" and (kwargs.get("dropout_p") or (len(args) > 4 and args[4])):
        busy, session.busy = session.busy, True
        try:
            return _attention(adapter, *args, **kwargs)
        finally:
            session.busy = busy
    kind = _DRAWS.get(name)
    if kind is None or ("generator" in kwargs and kwargs["generator"] is not None):
        return None
    if is_inplace(name):
        target = args[0]
        fresh = session.random(kind, tuple(target.shape), lambda: func(target.detach().clone(), *args[1:], **kwargs))
        with torch.no_grad():
            target.copy_(_tensor(fresh, target))
        return target
    made = func(*args, **kwargs)
    return _tensor(session.random(kind, tuple(made.shape), lambda: made), made)


def _tensor(values: Any, like: Any) -> Any:
    if torch.is_tensor(values):
        return values
    return torch.from_numpy(values.copy()).to(dtype=like.dtype, device=like.device).reshape(like.shape)
