"""What the MindSpore adapter knows of ops: which rearrange, which draw at random, how long their sums are."""

from __future__ import annotations

import math
from typing import Any

from mindspore import Tensor

VIEWS = frozenset(
    [
        "Reshape",
        "View",
        "Transpose",
        "TransposeView",
        "TransposeExtView",
        "TransposeExt",
        "Permute",
        "ExpandDims",
        "ExpandDimsView",
        "Squeeze",
        "Split",
        "SplitTensor",
        "SplitWithSize",
        "SplitWithSizeView",
        "SplitTensorView",
        "Chunk",
        "ChunkView",
        "Unstack",
        "UnstackExtView",
        "Slice",
        "StridedSlice",
        "SliceExt",
        "SliceExtView",
        "Narrow",
        "NarrowView",
        "SelectExtView",
        "Cast",
        "Contiguous",
        "Copy",
        "Identity",
        "BroadcastTo",
        "BroadcastToView",
        "ExpandAs",
        "Flatten",
        "FlattenExt",
        "Concat",
        "Stack",
        "StackExt",
        "Pad",
        "PadV3",
        "ConstantPadND",
        "Gather",
        "GatherD",
        "IndexSelect",
        "Index",
        "Tile",
        "RepeatInterleave",
        "ReverseV2",
        "Roll",
        "getitem",
        "Load",
        "Depend",
        "StopGradient",
        "Clone",
        "Tril",
        "Triu",
        "UnsqueezeView",
        "SwapAxes",
        "AsStrided",
        "Meshgrid",
        "Eye",
        "DiagonalView",
    ]
)
"""Ops that only rearrange, copy or convert: their output differs only where an input or an index does."""

DRAWS = {
    "UniformReal": "uniform", "UniformExt": "uniform", "RandExt": "uniform", "RandLikeExt": "uniform",
    "StandardNormal": "normal", "Randn": "normal", "RandnLike": "normal", "NormalTensorTensor": "normal",
    "NormalFloatFloat": "normal", "StandardLaplace": "other", "Bernoulli": "mask", "BernoulliExt": "mask",
    "UniformInt": "integer", "RandInt": "integer", "RandIntLike": "integer", "RandpermExt": "integer",
    "RandpermV2": "integer", "Multinomial": "integer", "InplaceBernoulliScalar": "mask",
}  # fmt: skip


def reduction_of(name: str, inputs: list[Any], result: Any) -> int:
    """Number of terms in the longest sum behind one element of the output."""
    if not inputs:
        return 1
    shape = tuple(inputs[0].shape)
    if name in ("MatMul", "BatchMatMul", "MatMulExt", "BatchMatMulExt", "Dense", "Einsum"):
        return int(shape[-1]) if shape else 1
    if name.startswith("Conv") and len(inputs) > 1:
        return int(math.prod(tuple(inputs[1].shape)[1:]))
    if name.startswith("BatchNorm"):
        return int(math.prod(shape) // max(1, shape[1]))
    if name in ("LayerNorm", "LayerNormExt", "Softmax", "LogSoftmax"):
        return int(shape[-1]) if shape else 1
    size = math.prod(tuple(result.shape))
    return max(1, math.prod(shape) // size) if size and math.prod(shape) > size else 1


def dropout(primitive: Any, adapter: Any, original: Any, x: Any) -> Any:
    """`ops.Dropout` with a mask that the session knows; the scaling is the script's own.

    Args:
        primitive: The dropout primitive, with the probability `keep_prob` to keep an element.
        adapter: The adapter whose session is told.
        original: The primitive's own call.
        x: Any shape.
    """
    session = adapter.session
    keep = float(primitive.keep_prob)
    if not session.following or keep >= 1.0 or keep <= 0.0:
        return original(primitive, x)
    session.busy = True
    try:
        drawn = lambda: (original(primitive, _ones_like(x))[0] != 0).astype(x.dtype)  # noqa: E731
        session.busy = False
        values = session.random("mask", tuple(x.shape), drawn)
        session.busy = True
        mask = values if isinstance(values, Tensor) else Tensor(values.reshape(x.shape), x.dtype)
        output = x * (mask.astype(x.dtype) / keep)
    finally:
        session.busy = False
    if session.light:
        return output, mask
    session.op("Dropout", [x], output, view=False, inplace=False, reduction=1)
    return output, mask


def _ones_like(x: Any) -> Any:
    import numpy as np

    return Tensor(np.ones(tuple(x.shape), np.float32), x.dtype)
