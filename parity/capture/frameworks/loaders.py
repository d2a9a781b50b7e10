"""What a `DataLoader` is made of, PyTorch's or the one that MindSpore models on it: arguments, dataset, order."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from parity.capture.frameworks.base import Made
from parity.capture.frameworks.describe import bound_arguments, plain
from parity.capture.source import Source
from parity.model import LoaderEvent, PipelineOp

_ORDERED = ("SequentialSampler",)
_RANDOM = ("RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler")
_TRANSFORMS = ("transform", "transforms", "target_transform")


def wrap(adapter: Any, iterator: Any, loader: Any) -> None:
    """Lets the adapter's session see what loaders of a class yield, and where and how the script makes them.

    Args:
        adapter: The framework's.
        iterator: The class of the loader's iterators, made with the loader as their only argument.
        loader: The class of the loader.
    """
    following, opening, init = iterator.__next__, iterator.__init__, loader.__init__

    @functools.wraps(following)
    def wrapped(this: Any) -> Any:
        session = adapter.session
        position = getattr(this, "_num_yielded", vars(this).get("_parity_position", 0))
        this._parity_position = 0
        busy, session.busy = session.busy, True
        try:
            batch = following(this)
        finally:
            session.busy = busy
        this._parity_position = position + 1
        return session.batch(this._parity_loader, batch, position)

    @functools.wraps(opening)
    def wrapped_opening(this: Any, source: Any) -> None:
        this._parity_loader = source
        opening(this, source)

    @functools.wraps(init)
    def wrapped_init(this: Any, *args: Any, **kwargs: Any) -> None:
        init(this, *args, **kwargs)
        file, line = adapter.session.source.here()
        made = Made(file, line, *bound_arguments(init, args, kwargs, adapter.is_tensor))
        object.__setattr__(this, "_parity_made", made)

    adapter._replace(iterator, "__next__", wrapped)
    adapter._replace(iterator, "__init__", wrapped_opening)
    adapter._replace(loader, "__init__", wrapped_init)


def describe(loader: Any, made: Made, source: Source, is_tensor: Callable[[Any], bool]) -> LoaderEvent:
    """A loader's description: its pipeline goes from the dataset over its transforms to the sampler and the batch."""
    pipeline: list[PipelineOp] = []
    dataset = loader.dataset
    for _ in range(8):  # a Subset of a Subset
        pipeline[:0] = [_dataset(dataset, source, is_tensor), *_transforms(dataset, source, is_tensor)]
        dataset = getattr(dataset, "dataset", None)
        if dataset is None:
            break
    batches = getattr(loader, "batch_sampler", None)
    own = getattr(loader, "sampler", None) if batches is None else getattr(batches, "sampler", batches)
    if own is not None:
        pipeline.append(PipelineOp(type(own).__name__, _settings(own, is_tensor)))
    arguments = dict(made.arguments)
    arguments["batch_size"] = getattr(batches, "batch_size", loader.batch_size)
    arguments["drop_last"] = getattr(batches, "drop_last", loader.drop_last)
    if getattr(loader.collate_fn, "__name__", "") != "default_collate":
        arguments["collate_fn"] = plain(loader.collate_fn, is_tensor)
    return LoaderEvent(
        -1, None, type(loader).__name__, made.file, made.line, arguments, made.given, pipeline, _shuffled(own)
    )


def _shuffled(sampler: Any) -> bool | None:
    names = [kind.__name__ for kind in type(sampler).__mro__]
    if any(name in _RANDOM for name in names):
        return True
    if "DistributedSampler" in names:
        return bool(sampler.shuffle)
    return False if names[0] in _ORDERED else None


def _place(kind: type, source: Source, method: str) -> tuple[str | None, int | None]:
    function = inspect.unwrap(getattr(kind, method, None) or kind)
    code = getattr(function, "__code__", None)
    name = source.own(code.co_filename) if code is not None else None
    return (name, code.co_firstlineno) if code is not None and name is not None else (None, None)


def _dataset(dataset: Any, source: Source, is_tensor: Callable[[Any], bool]) -> PipelineOp:
    kind = type(dataset)
    method = (
        "__getitem__"
        if hasattr(kind, "__getitem__") and not any(base.__name__ == "IterableDataset" for base in kind.__mro__)
        else "__iter__"
    )
    file, line = _place(kind, source, method)
    return PipelineOp(kind.__name__, _settings(dataset, is_tensor), [], file, line)


def _transforms(dataset: Any, source: Source, is_tensor: Callable[[Any], bool]) -> list[PipelineOp]:
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
            found.append(
                PipelineOp(getattr(part, "__qualname__", type(part).__name__), _settings(part, is_tensor), [], *place)
            )
    return found


def _settings(value: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any]:
    """An object's public attributes that are plain numbers, texts or short lists of them."""
    found: dict[str, Any] = {}
    for name, held in getattr(value, "__dict__", {}).items():
        if name.startswith("_") or len(found) >= 24:
            continue
        if isinstance(held, (bool, int, float, str)) or (isinstance(held, (list, tuple)) and len(held) <= 16):
            found[name] = plain(held, is_tensor)
    return found
