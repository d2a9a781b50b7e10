"""Which operation of the candidate's pipeline makes a difference, and what it would have to be."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from parity.data.difference import How
from parity.diagnose.loading.loaders import Loader
from parity.model import PipelineOp

_CHANNELS = ("HWC2CHW", "ToTensor")
_KINDS = {
    "layout": _CHANNELS,
    "channel-order": ("ConvertColor", "Decode"),
    "flip": ("RandomHorizontalFlip", "RandomVerticalFlip", "HorizontalFlip", "VerticalFlip"),
    "crop": ("RandomCrop", "RandomResizedCrop", "RandomCropDecodeResize", "CenterCrop", "Crop"),
    "resize": ("Resize", "RandomResizedCrop", "Decode"),
    "image-size": ("Resize", "CenterCrop", "RandomCrop", "RandomResizedCrop"),
    "one-hot": ("OneHot",),
    "label-offset": ("TypeCast",),
    "dtype": ("TypeCast", "ToType"),
    "padding-value": ("PadEnd", "PaddedBatchDataset"),
    "padding-side": ("PadEnd", "PaddedBatchDataset"),
    "padding-length": ("PadEnd", "PaddedBatchDataset"),
    "sequence-length": ("PadEnd", "PaddedBatchDataset", "TruncateSequencePair"),
}

_FIXES = {
    "channel-order": "reverse the channels, for example x[..., ::-1] of an image in HWC",
    "flip": "apply the same flips, or none while comparing",
    "crop": "crop at the same places, or seed both sides alike while comparing",
    "resize": "resize with the same interpolation and antialiasing",
    "layout": "transpose the axes (vision.HWC2CHW(), np.transpose), do not reshape",
}


class Advice(NamedTuple):
    """The operation to change, its values on both sides, why it makes the difference, and what to write instead."""

    op: PipelineOp | None
    value: tuple[Any, Any] | None = None
    cause: str | None = None
    fix: str | None = None


def advise(how: How, mine: Loader | None, theirs: Loader | None) -> Advice:
    """Names the line for one difference; without an operation of that kind, the dataset's own code."""
    if theirs is None:
        return Advice(None)
    if how.factors is not None:
        return _scaling(how.factors, mine, theirs)
    op = theirs.first(*_KINDS.get(how.kind, ()))
    if op is not None:
        return Advice(op, None, f"{op.name} of the candidate's pipeline", _fix(how, op))
    image = how.kind in ("layout", "channel-order")
    return Advice((_last_map(theirs) if image else None) or _own_code(theirs), None, None, _fix(how, None))


def _last_map(loader: Loader) -> PipelineOp | None:
    """The last operation on columns, behind which one is missing."""
    return next((op for op in reversed(loader.event.pipeline) if "columns" in op.arguments and op.file), None)


def _own_code(loader: Loader) -> PipelineOp | None:
    """The script's own code that makes samples: the last function in the pipeline, else the dataset."""
    own = [op for op in loader.event.pipeline if op.file and not op.given]
    return own[-1] if own else None


def _fix(how: How, op: PipelineOp | None) -> str | None:
    wanted = how.value[0] if how.value is not None else None
    if how.kind == "label-offset" and how.value is not None:
        return f"subtract {how.value[1] - how.value[0]} from the labels"
    if how.kind in ("padding-value", "padding-side") and wanted is not None:
        return f"pad with {wanted:g}" if how.kind == "padding-value" else f"pad on the {wanted}"
    return _FIXES.get(how.kind)


def _scaling(factors: tuple[list[float], list[float]], mine: Loader | None, theirs: Loader) -> Advice:
    """From a·x + b back to the arguments that the candidate's Normalize or Rescale should have had."""
    slope, shift = (np.array(part) for part in factors)
    normalizes = theirs.every("Normalize", "NormalizePad")
    if normalizes:
        op = normalizes[-1]
        mean, std = (_vector(op.arguments.get(name)) for name in ("mean", "std"))
        if mean is not None and std is not None:
            new_mean, new_std = mean + shift * std, slope * std
            told = _normalize(op, new_mean, new_std, theirs, normalizes)
            return Advice(op, _values(new_mean, new_std, mean, std), *told)
    rescales = theirs.every("Rescale")
    if rescales:
        op = rescales[-1]
        scale, offset = op.arguments.get("rescale"), op.arguments.get("shift")
        if isinstance(scale, (int, float)) and isinstance(offset, (int, float)) and len(set(np.round(slope, 9))) == 1:
            right = (float(scale / slope[0]), float((offset - shift[0]) / slope[0]))
            fix = f"vision.Rescale({right[0]:.6g}, {right[1]:.6g})"
            return Advice(op, (list(right), [scale, offset]), "the scale of Rescale", fix)
    own = _own_code(theirs)
    return Advice(own, None, _lacking(slope, shift, mine), f"x = (x - {_text(shift)}) / {_text(slope)}")


def _normalize(
    op: PipelineOp, mean: np.ndarray, std: np.ndarray, theirs: Loader, every: list[PipelineOp]
) -> tuple[str, str]:
    """In words why Normalize is wrong, and the arguments that would be right."""
    given = _vector(op.arguments.get("std"))
    ratio = given / np.where(std == 0, 1, std) if given is not None else np.ones_like(std)
    if np.allclose(mean, 0, atol=1e-3) and np.allclose(std, 1, rtol=1e-3):
        why = f"{op.name} stands {len(every)} times in the pipeline" if len(every) > 1 else "the pixels were ready"
        return f"the images are normalised twice: {why}", f"leave this {op.name} out"
    scaled = theirs.first("Rescale", "ToTensor")
    cause = f"mean and std of {op.name} are not those of the reference"
    if np.allclose(ratio, 255, rtol=0.02):
        before = f" that {scaled.name} has already scaled to 0..1" if scaled is not None else ""
        cause = f"mean and std of {op.name} are for pixels in 0..255, and it gets pixels{before}: normalised twice"
    elif np.allclose(ratio, 1 / 255, rtol=0.02):
        cause = f"mean and std of {op.name} are for pixels in 0..1, and it gets pixels in 0..255"
        return cause, f"put vision.Rescale(1 / 255, 0.0) before {op.name}"
    return cause, f"mean={_named(mean, theirs)}, std={_named(std, theirs)}"


def _lacking(slope: np.ndarray, shift: np.ndarray, mine: Loader | None) -> str:
    """Whether the factors are constants of the reference's script: then the candidate leaves a normalisation out."""
    for std_name, std in (mine.event.constants if mine is not None else {}).items():
        for mean_name, mean in (mine.event.constants if mine is not None else {}).items():
            if _near(slope, std) and _near(shift, mean):
                return f"the candidate lacks the normalisation by {mean_name} and {std_name}"
            if _near(1 / np.where(slope == 0, 1, slope), std) and _near(-shift / np.where(slope == 0, 1, slope), mean):
                return f"the candidate normalises by {mean_name} and {std_name}, which the reference does not"
    return "another normalisation or scale of the values"


def _near(values: np.ndarray, other: list[float]) -> bool:
    return len(values) == len(other) and bool(np.allclose(values, other, rtol=5e-3, atol=1e-4))


def _named(values: np.ndarray, loader: Loader) -> str:
    """A list of numbers as the script calls it, else written out."""
    for name, known in loader.event.constants.items():
        if _near(values, known):
            return name
    return "[" + ", ".join(f"{v:.4g}" for v in values) + "]"


def _vector(value: Any) -> np.ndarray | None:
    if isinstance(value, (int, float)):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(v, (int, float)) for v in value):
        return None
    return np.array(value, np.float64)


def _values(new_mean: np.ndarray, new_std: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[Any, Any]:
    return {"mean": _digits(new_mean), "std": _digits(new_std)}, {"mean": _digits(mean), "std": _digits(std)}


def _digits(values: np.ndarray) -> list[float]:
    return [float(f"{v:.6g}") for v in values]


def _text(values: np.ndarray) -> str:
    if np.allclose(values, values[0], rtol=1e-4):
        return f"{values[0]:.6g}"
    return "[" + ", ".join(f"{v:.5g}" for v in values[:4]) + (", ...]" if len(values) > 4 else "]")
