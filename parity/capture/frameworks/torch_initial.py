"""Where tensors that descend from random draws came from: a graph of the ops that made them, to be run again.

Ops before the first step are seen below autograd, where every random number is made by an op that says so. Per
storage, the graph keeps the last node that wrote into it; constants are kept as they are, and a storage that is
overwritten by constants is forgotten. Nodes do not keep what they made, so what the script drops is dropped here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from parity.capture.frameworks.base import Origin

_DEPTH = 200
"""Ops one behind the other that are run again; what comes from more of them is no initializer."""

_LARGE = 2**20
"""Constants of more elements are not kept to be read again."""

_PURGE = 4096
_OVERWRITES = {
    "fill_", "zero_", "copy_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_",
    "log_normal_", "geometric_",
}  # fmt: skip
_READS = {"_local_scalar_dense", "is_nonzero", "equal", "item"}
WHOLE = ("trunc_normal_", "orthogonal_", "sparse_")
"""Functions of `torch.nn.init` that are run again as a whole: they draw until they are content, or in many ops."""

_COPIES = {"clone", "_to_copy", "copy_", "contiguous"}


class _View(NamedTuple):
    """A tensor as a window onto a storage, and the node that filled the storage."""

    node: Any
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: torch.Tensor, node: Any) -> _View:
        return cls(node, tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset())

    def on(self, storage: torch.UntypedStorage) -> torch.Tensor:
        return torch.empty(0, dtype=self.dtype).set_(storage, self.offset, self.size, self.stride)


class _Constant(NamedTuple):
    """A tensor that no random number reached, and which state of it was read."""

    tensor: torch.Tensor
    version: int


class _Node:
    """One op that read or made random numbers.

    Attributes:
        func: The op, or a function of `torch.nn.init`; None where it cannot be run again.
        args: Its flattened arguments: a `_View` or `_Constant` for a tensor, `_TARGET` for the one it writes into.
        spec: How they nest.
        written: The window that it writes into; None where it makes a new tensor.
        base: The storage before that: a node, its bytes, or None where all of it is overwritten.
        nbytes: Size of the storage that it writes into.
        out: Which of several results this is.
        key: Equal for equal computations.
        read: Whether a number that depends on it went into Python, where it may decide what comes next.
    """

    __slots__ = (
        "args", "base", "depth", "file", "func", "key", "line", "name", "nbytes", "out", "read", "spec", "written",
    )  # fmt: skip

    def __init__(self, func: Any, args: list[Any], spec: Any, place: tuple[str | None, int | None]) -> None:
        self.func = func
        self.name = getattr(func, "overloadpacket", func).__name__
        self.read = False
        self.args = args
        self.spec = spec
        self.file, self.line = place
        self.written: _View | None = None
        self.base: Any = None
        self.nbytes = 0
        self.out = 0
        self.depth = 0
        self.key: Hashable = None

    def before(self) -> list[_Node]:
        """The nodes whose random numbers it reads."""
        found = [a.node for a in self.args if isinstance(a, _View)]
        return [*found, self.base] if isinstance(self.base, _Node) else found

    def pads(self) -> bool:
        """Whether it only sets a part of its storage to zero, as for a padding row."""
        zero = self.name == "zero_" or (self.name == "fill_" and [a for a in self.args if a is not _TARGET] == [0])
        return zero and isinstance(self.base, _Node)


class _Call(NamedTuple):
    """An op that makes new tensors out of random numbers."""

    func: Any
    flat: list[Any]
    spec: Any
    tensors: list[torch.Tensor]


_TARGET = object()
_TROUBLE = (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, IndexError)
"""What tensors of unusual kinds raise when they are asked for their storage."""


class Provenance:
    """Follows random numbers from where they are drawn to the parameters.

    Args:
        here: Tells file and line in the script's own files.
        note: Takes what the user should know.
    """

    def __init__(
        self, here: Callable[[], tuple[str | None, int | None]], note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.here = here
        self.note = note
        self.active = False
        self._entered = False
        self._nodes: dict[int, tuple[StorageWeakRef, _Node]] = {}
        self._loaded: dict[int, StorageWeakRef] = {}
        self._keys: dict[Hashable, int] = {}
        self._mode = _Mode(self)

    def start(self) -> None:
        """Starts to see ops."""
        self.active = self._entered = True
        self._mode.__enter__()

    def stop(self) -> None:
        """Stops to see ops; what is known stays."""
        self.active = False
        if self._entered:
            self._entered = False
            count = torch._C._len_torch_dispatch_stack()
            if count and torch._C._get_dispatch_stack_at(count - 1) is self._mode:
                self._mode.__exit__(None, None, None)

    def node(self, tensor: torch.Tensor) -> _Node | None:
        """The op that last wrote random numbers into a tensor's storage."""
        if not _plain(tensor):
            return None
        found = self._nodes.get(tensor.untyped_storage()._cdata)
        return found[1] if found is not None and not found[0].expired() else None

    def loaded(self, tensors: list[torch.Tensor]) -> None:
        """These tensors were filled from a checkpoint."""
        for tensor in filter(_plain, tensors):
            storage = tensor.untyped_storage()
            self._loaded[storage._cdata] = StorageWeakRef(storage)

    def origin(self, tensor: torch.Tensor) -> Origin | None:
        """Where a parameter's values came from, None where nothing was seen of it."""
        node = self.node(tensor)
        if node is None:
            known = self._loaded.get(tensor.untyped_storage()._cdata) if _plain(tensor) else None
            return Origin(loaded=True) if known is not None and not known.expired() else None
        view = _View.of(tensor, node)
        source = node
        while (source.name in _COPIES or source.pads()) and source.before():
            source = source.before()[0]
        return Origin((node.key, view[1:]), lambda: _values(view), _law(source), source.file, source.line)

    def saw(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs an op and notes what random numbers became by it."""
        made = None
        try:
            made = self._before(func, args, kwargs)
        except _TROUBLE as error:
            self._give_up(error)
        result = func(*args, **kwargs)
        if made is not None:
            try:
                self._after(made, result)
            except _TROUBLE as error:
                self._give_up(error)
        return result

    def _give_up(self, error: Exception) -> None:
        """The script's run goes on where its tensors cannot be followed."""
        self.active = False
        self._nodes.clear()
        self.note(f"where parameters got their initial values could not be followed ({type(error).__name__}: {error})")

    def _before(self, func: Any, args: Any, kwargs: Any) -> _Call | None:
        """Notes what an op is about to write into; what it will make anew is noted when it has run."""
        flat, spec = tree_flatten((args, kwargs))
        draws = torch.Tag.nondeterministic_seeded in func.tags
        tensors = [t for t in flat if isinstance(t, torch.Tensor)]
        random = [t for t in tensors if self.node(t) is not None]
        if not draws and not random:
            return None
        if func.overloadpacket.__name__ in _READS:
            for tensor in random:
                self._read(tensor)
            return None
        targets = _written(func, args, kwargs)
        if not targets:
            return _Call(func, flat, spec, tensors)
        self._writes(func, flat, spec, targets, draws or any(t is not targets[0] for t in random))
        return None

    def _after(self, call: _Call, result: Any) -> None:
        sources = {t.untyped_storage()._cdata for t in call.tensors if _plain(t)}
        for index, made in enumerate(result if isinstance(result, (tuple, list)) else [result]):
            if isinstance(made, torch.Tensor) and _plain(made) and made.untyped_storage()._cdata not in sources:
                node = _Node(call.func, [self._kept(value) for value in call.flat], call.spec, self.here())
                node.out = index
                self._note(made, node)

    def _read(self, tensor: torch.Tensor) -> None:
        """A number went into Python: what is made of its ancestors from now on may depend on it."""
        nodes = [self.node(tensor)]
        while nodes:
            node = nodes.pop()
            if node is not None and not node.read:
                node.read = True
                nodes += node.before()

    def filling(self, function: Any) -> Any:
        """A function of `torch.nn.init` that counts as one op."""

        @functools.wraps(function)
        def wrapped(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.active:
                return function(tensor, *args, **kwargs)
            flat, spec = tree_flatten(((tensor, *args), kwargs))
            self._writes(function, flat, spec, [tensor], True)
            self.active = False
            try:
                return function(tensor, *args, **kwargs)
            finally:
                self.active = True

        return wrapped

    def copied(self, old: torch.Tensor, new: torch.Tensor) -> None:
        """A tensor's storage was copied where no op is seen."""
        node = self.node(old)
        if self.active and node is not None and _plain(new):
            storage = new.untyped_storage()
            self._nodes[storage._cdata] = (StorageWeakRef(storage), node)

    def _writes(self, func: Any, flat: list[Any], spec: Any, targets: list[torch.Tensor], random: bool) -> None:
        """Notes an op that is about to write into its arguments; `random` tells that it brings new random numbers."""
        target = targets[0]
        if not _plain(target):
            return
        storage = target.untyped_storage()
        node = _Node(func, [_TARGET if v is target else self._kept(v) for v in flat], spec, (None, None))
        whole = target.numel() * target.element_size() == storage.nbytes()
        if whole and node.name in (*_OVERWRITES, *WHOLE):
            if not random:
                self._nodes.pop(storage._cdata, None)
                return
        else:
            node.base = self.node(target) or storage.clone()
        node.file, node.line = self.here()
        node.written, node.nbytes = _View.of(target, None), storage.nbytes()
        if len(targets) > 1:
            node.func = None
        for one in filter(_plain, targets):
            self._note(one, node)

    def _kept(self, value: Any) -> Any:
        if isinstance(value, torch.Generator):
            return None
        if not isinstance(value, torch.Tensor):
            return value
        node = self.node(value)
        return _View.of(value, node) if node is not None else _Constant(value.detach(), value._version)

    def _note(self, tensor: torch.Tensor, node: _Node) -> None:
        before = node.before()
        node.depth = 1 + max((n.depth for n in before), default=0)
        large = any(isinstance(a, _Constant) and (a.tensor.numel() > _LARGE or not _plain(a.tensor)) for a in node.args)
        if large or node.depth > _DEPTH or any(n.func is None or n.read for n in before):
            node.func = None
        if node.func is None:
            node.args, node.base = [], None
        node.key = self._key(node)
        storage = tensor.untyped_storage()
        self._nodes[storage._cdata] = (StorageWeakRef(storage), node)
        if len(self._nodes) % _PURGE == 0:
            self._nodes = {k: v for k, v in self._nodes.items() if not v[0].expired()}

    def _key(self, node: _Node) -> int:
        """A number that equal computations share."""
        parts: list[Hashable] = [node.func, node.written, node.nbytes, node.out, str(node.spec)]
        for value in [*node.args, node.base]:
            if isinstance(value, _View):
                parts.append((value.node.key, value[1:]))
            elif isinstance(value, _Node):
                parts.append(value.key)
            elif isinstance(value, (_Constant, torch.UntypedStorage)):
                parts.append(("held", id(node)))
            else:
                parts.append(repr(value))
        if node.func is None:
            parts.append(("held", id(node)))
        return self._keys.setdefault(tuple(parts), len(self._keys))


@contextmanager
def drawing() -> Iterator[None]:
    """Ops run again in here leave the random generator as it was."""
    state = torch.get_rng_state()
    try:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            yield
    finally:
        torch.set_rng_state(state)


def _plain(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _written(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The tensors that an op writes into."""
    found = []
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            found += [v for v in (value if isinstance(value, (tuple, list)) else [value]) if torch.is_tensor(v)]
    return found


def _law(node: _Node) -> str:
    """The op that drew, with its plain arguments, and what was done to its numbers."""
    steps: list[str] = []
    current: _Node | None = node
    while current is not None and len(steps) < 6:
        if current.name not in _COPIES:
            steps.append(f"{current.name}({_numbers(current)})")
        before = current.before()
        current = before[0] if before else None
    return ", ".join(reversed(steps))


def _numbers(node: _Node) -> str:
    """The plain numbers among a node's arguments; for a function of `torch.nn.init` with its defaults."""
    values: Any = node.args
    if node.name in WHOLE and node.func is not None:
        positional, named = tree_unflatten(node.args, node.spec)
        bound = inspect.signature(node.func).bind(*positional, **named)
        bound.apply_defaults()
        values = bound.arguments.values()
    return ", ".join(f"{v:.6g}" for v in values if isinstance(v, (int, float)) and not isinstance(v, bool))


def _values(view: _View) -> np.ndarray | None:
    """Fresh values of a tensor; None where its ops cannot be run again."""
    try:
        tensor = view.on(_run(view.node, {}))
    except (_Changed, RuntimeError, TypeError, ValueError, IndexError):
        return None
    return tensor.to(torch.float64).numpy().copy() if tensor.dtype.is_floating_point else tensor.numpy().copy()


class _Changed(Exception):
    """A constant was changed since it was read, or an op cannot be run again."""


def _run(node: _Node, known: dict[int, torch.UntypedStorage]) -> torch.UntypedStorage:
    """The storage that a node fills, with fresh random numbers; `known` by node for those that were run."""
    if id(node) in known:
        return known[id(node)]
    if node.func is None:
        raise _Changed
    args: list[Any] = []
    target = None
    if node.written is not None:
        base = _run(node.base, known) if isinstance(node.base, _Node) else node.base
        target = node.written.on(base.clone() if base is not None else torch.UntypedStorage(node.nbytes))
    for value in node.args:
        if isinstance(value, _View):
            value = value.on(_run(value.node, known))
        elif isinstance(value, _Constant):
            if value.tensor._version != value.version:
                raise _Changed
            value = value.tensor
        args.append(target if value is _TARGET else value)
    positional, named = tree_unflatten(args, node.spec)
    result = node.func(*positional, **named)
    if target is not None:
        result = target
    elif isinstance(result, (tuple, list)):
        result = result[node.out]
    known[id(node)] = result.untyped_storage()
    return known[id(node)]


class _Mode(TorchDispatchMode):
    def __init__(self, provenance: Provenance) -> None:
        super().__init__()
        self.provenance = provenance

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.provenance.active:
            return func(*args, **(kwargs or {}))
        return self.provenance.saw(func, args, kwargs or {})
