"""What a PyTorch data loader is made of: its arguments, its dataset, the transforms that can be seen, its order."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.utils import data

from parity.capture.frameworks.base import Made
from parity.capture.frameworks.describe import plain
from parity.capture.source import Source
from parity.model import LoaderEvent, PipelineOp

_ORDERED = (data.SequentialSampler,)
_RANDOM = (data.RandomSampler, data.SubsetRandomSampler, data.WeightedRandomSampler)
_TRANSFORMS = ("transform", "transforms", "target_transform")


def describe(loader: Any, made: Made, source: Source) -> LoaderEvent:
    """A loader's description: its pipeline goes from the dataset over its transforms to the sampler and the batch."""
    pipeline: list[PipelineOp] = []
    dataset = loader.dataset
    for _ in range(8):  # a Subset of a Subset
        pipeline[:0] = [_dataset(dataset, source), *_transforms(dataset, source)]
        dataset = getattr(dataset, "dataset", None)
        if dataset is None:
            break
    sampler = loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)
    own = loader.batch_sampler if sampler is None else sampler
    if own is not None:
        pipeline.append(PipelineOp(type(own).__name__, _settings(own)))
    arguments = dict(made.arguments)
    arguments["batch_size"] = getattr(loader.batch_sampler, "batch_size", loader.batch_size)
    arguments["drop_last"] = getattr(loader.batch_sampler, "drop_last", loader.drop_last)
    if loader.collate_fn is not data.default_collate:
        arguments["collate_fn"] = plain(loader.collate_fn, torch.is_tensor)
    return LoaderEvent(
        -1, None, type(loader).__name__, made.file, made.line, arguments, made.given, pipeline, _shuffled(own)
    )


def _shuffled(sampler: Any) -> bool | None:
    if isinstance(sampler, _RANDOM):
        return True
    if isinstance(sampler, data.DistributedSampler):
        return bool(sampler.shuffle)
    return False if type(sampler) in _ORDERED else None


def _place(kind: type, source: Source, method: str) -> tuple[str | None, int | None]:
    function = inspect.unwrap(getattr(kind, method, None) or kind)
    code = getattr(function, "__code__", None)
    name = source.own(code.co_filename) if code is not None else None
    return (name, code.co_firstlineno) if code is not None and name is not None else (None, None)


def _dataset(dataset: Any, source: Source) -> PipelineOp:
    kind = type(dataset)
    method = (
        "__getitem__" if hasattr(kind, "__getitem__") and not isinstance(dataset, data.IterableDataset) else "__iter__"
    )
    file, line = _place(kind, source, method)
    return PipelineOp(kind.__name__, _settings(dataset), [], file, line)


def _transforms(dataset: Any, source: Source) -> list[PipelineOp]:
    """What hangs at a dataset under the names that torchvision uses; a composition is taken apart."""
    found: list[PipelineOp] = []
    for name in _TRANSFORMS:
        value = vars(dataset).get(name) if hasattr(dataset, "__dict__") else None
        if value is None:
            continue
        for part in getattr(value, "transforms", None) or [value]:
            code = getattr(part, "__code__", None)
            place = _place(type(part), source, "__call__")
            if code is not None and source.own(code.co_filename) is not None:
                place = source.own(code.co_filename), code.co_firstlineno
            found.append(PipelineOp(getattr(part, "__qualname__", type(part).__name__), _settings(part), [], *place))
    return found


def _settings(value: Any) -> dict[str, Any]:
    """An object's public attributes that are plain numbers, texts or short lists of them."""
    found: dict[str, Any] = {}
    for name, held in getattr(value, "__dict__", {}).items():
        if name.startswith("_") or len(found) >= 24:
            continue
        if isinstance(held, (bool, int, float, str)) or (isinstance(held, (list, tuple)) and len(held) <= 16):
            found[name] = plain(held, torch.is_tensor)
    return found
