"""What a MindSpore pipeline is made of: its tree of operations with their arguments, and its order."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import mindspore.dataset as ds
import mindspore.dataset.engine.iterators as iterators
from mindspore import Tensor
from mindspore.dataset.engine.datasets import BatchDataset, Dataset, MapDataset
from mindspore.dataset.transforms.transforms import PyTensorOperation, TensorOperation

from parity.capture.frameworks import loaders
from parity.capture.frameworks.base import Made, made_of
from parity.capture.frameworks.describe import bound_arguments, plain
from parity.capture.source import Source
from parity.model import LoaderEvent, PipelineOp

try:
    import mindspore.dataset.dataloader.dataloader as dataloader
except ImportError:  # MindSpore has it from 2.10 on
    dataloader = None

_RANDOM = ("RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler", "PKSampler")


_DEFAULTS = {name: p.default for name, p in inspect.signature(BatchDataset.__init__).parameters.items()}
"""Of the arguments that `batch()` hands on, those that the script need not have given."""


def wrap(adapter: Any) -> None:
    """Lets the adapter's session see what datasets yield, and where and how the script makes them."""
    following = iterators.Iterator.__next__

    @functools.wraps(following)
    def wrapped(this: Any) -> Any:
        position = vars(this).get("_parity_position", 0)
        this._parity_position = 0
        batch = following(this)
        this._parity_position = position + 1
        return adapter.session.batch(this._Iterator__ori_dataset, batch, position)

    adapter._replace(iterators.Iterator, "__next__", wrapped)
    for kind in (Dataset, TensorOperation, PyTensorOperation):
        adapter._replace(kind, "__new__", staticmethod(_noting(adapter, kind.__new__)))
    if dataloader is not None:
        loaders.wrap(adapter, dataloader._Iterator, dataloader.DataLoader)


def _noting(adapter: Any, new: Any) -> Any:
    """Notes where the script makes a dataset or one of its operations, and with which arguments."""

    def wrapped(cls: Any, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls) if new is object.__new__ else new(cls, *args, **kwargs)
        file, line = adapter.session.source.here()
        made._parity_made = Made(file, line, *bound_arguments(cls.__init__, args, kwargs, _is_tensor))
        if isinstance(made, Dataset) and file is not None and (args or kwargs):  # a copy is made without arguments
            adapter.session.loader_made(made)
        return made

    return wrapped


def epoch(dataset: Any) -> Iterator[Any]:
    """One epoch of a dataset as NumPy arrays, from a new iterator."""
    if dataloader is not None and isinstance(dataset, dataloader.DataLoader):
        yield from dataset
        return
    iterator = dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)
    try:
        yield from iterator
    finally:
        iterator.stop()


def is_loader(value: Any) -> bool:
    """Whether this is a `DataLoader`, or a dataset that makes batches and that no other one reads."""
    if dataloader is not None and isinstance(value, dataloader.DataLoader):
        return True
    if not isinstance(value, Dataset) or any(parent() is not None for parent in value.parent):
        return False
    return any("batch_size" in made_of(node).arguments for node in _nodes(value))


def describe(dataset: Any, made: Made, source: Source) -> LoaderEvent:
    """A dataset's description: its pipeline goes from the source to the batch."""
    if dataloader is not None and isinstance(dataset, dataloader.DataLoader):
        return loaders.describe(dataset, made, source, _is_tensor)
    nodes = _nodes(dataset)
    pipeline = [op for node in nodes for op in _operations(node, source)]
    batch = next((n for n in reversed(nodes) if "batch_size" in made_of(n).arguments), dataset)
    arguments = {**made_of(batch).arguments, **{k: v for k, v in made.arguments.items() if k in ("shuffle",)}}
    given = [name for name in made_of(batch).given if arguments.get(name) != _DEFAULTS.get(name, _DEFAULTS)]
    arguments.pop("input_dataset", None)
    place = made_of(batch) if made_of(batch).file else made
    found = [_shuffles(node) for node in nodes]
    shuffled = True if True in found else None if None in found else False
    return LoaderEvent(-1, None, type(dataset).__name__, place.file, place.line, arguments, given, pipeline, shuffled)


def _nodes(dataset: Any) -> list[Any]:
    """The nodes of a pipeline, each after those that it reads."""
    found: list[Any] = []
    for child in getattr(dataset, "children", []):
        found += [node for node in _nodes(child) if not any(node is known for known in found)]
    return [*found, dataset]


def _operations(node: Any, source: Source) -> list[PipelineOp]:
    made = made_of(node)
    arguments = {k: v for k, v in made.arguments.items() if k not in ("input_dataset", "source", "operations", "data")}
    if not node.children:
        arguments["shuffle"] = _shuffles(node)
        sampler = getattr(node, "sampler", None)
        arguments["sampler"] = type(sampler).__name__ if sampler is not None else None
    found = [PipelineOp(type(node).__name__.removeprefix("_"), arguments, made.given, made.file, made.line)]
    code = _code(getattr(node, "source", None), source)
    if code is not None and not node.children:
        found.insert(0, PipelineOp(type(node.source).__name__, {}, [], *code))
    if isinstance(node, MapDataset):
        columns = plain(node.input_columns, _is_tensor)
        found = [_operation(op, columns, made, source) for op in _flat(node.operations)]
    return found


def _flat(operations: list[Any]) -> list[Any]:
    """Operations with compositions taken apart."""
    found: list[Any] = []
    for op in operations:
        inner = getattr(op, "transforms", None)
        composed = type(op).__name__ == "Compose" and isinstance(inner, (list, tuple))
        found += _flat(list(inner)) if composed else [op]  # type: ignore[arg-type]
    return found


def _operation(op: Any, columns: Any, around: Made, source: Source) -> PipelineOp:
    made = made_of(op)
    file, line = (made.file, made.line) if made.file else (around.file, around.line)
    code = _code(op, source)
    if code is not None:
        file, line = code
    name = getattr(op, "__qualname__", type(op).__name__)
    return PipelineOp(name, {**made.arguments, "columns": columns}, made.given, file, line)


def _code(value: Any, source: Source) -> tuple[str, int] | None:
    """Where the script's own code of a function, a callable or a random-access source stands."""
    kind = type(value)
    members = [vars(base).get(name) for base in kind.__mro__ for name in ("__getitem__", "__call__", "__iter__")]
    own = value if inspect.isroutine(value) else next(filter(None, members), None)
    code = getattr(own, "__code__", None)
    name = source.own(code.co_filename) if code is not None else None
    return (name, code.co_firstlineno) if code is not None and name is not None else None


def _shuffles(node: Any) -> bool | None:
    """Whether this node alone changes the order at random; None where a sampler is the script's own."""
    if type(node).__name__ == "ShuffleDataset":
        return True
    if node.children:
        return False
    if not hasattr(node, "sampler"):
        return int(getattr(node, "shuffle_flag", 0)) > 0
    if isinstance(node, ds.GeneratorDataset) and not hasattr(node.source, "__getitem__"):
        return None  # a generator is not sampled; its own code decides
    sampler, unknown = node.sampler, False
    while sampler is not None:
        kind = type(sampler)
        if kind.__name__ in _RANDOM or (kind.__name__ == "DistributedSampler" and sampler.is_shuffled()):
            return True
        unknown |= kind.__name__ == "IterSampler" or not kind.__module__.startswith("mindspore.")
        sampler = sampler.child_sampler
    return None if unknown else False


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
