"""Tensors, cells and optimizers of MindSpore as the adapter's users see them; nothing is instrumented here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import mindspore
import mindspore.context
import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore.experimental.optim.optimizer import Optimizer as ExperimentalOptimizer
from mindspore.graph.api import _no_grad, _pynative_executor

from parity.capture.frameworks import mindspore_data as datasets
from parity.capture.frameworks.base import Held, Made, Origin, Planned, made_of
from parity.capture.frameworks.mindspore_declared import optimizer_groups, planned_rates
from parity.capture.frameworks.mindspore_initial import Fills
from parity.capture.supported import SUPPORTED
from parity.model import LoaderEvent
from parity.tensors import dtype_name

_WRAPPERS = (nn.TrainOneStepCell, nn.WithLossCell, nn.WithEvalCell)
_LEARNED = ("weight", "bias", "gamma", "beta", "embedding_table", "w")
"""What a frozen parameter may be called; all else without a gradient is a buffer (MindSpore has no such kind)."""
OPTIMIZERS = (nn.Optimizer, ExperimentalOptimizer)


class MindSporeAccess:
    """Answers about MindSpore's objects, and changes their values."""

    name = "mindspore"
    versions = SUPPORTED["mindspore"][0]

    def __init__(self) -> None:
        self.session: Any = None
        self._tags: dict[tuple[int, tuple[int, ...], str], tuple[int, int, Any]] = {}
        self._depth = 0
        self._seed = mindspore.set_seed
        self.schedules: list[Any] = []
        self._fills: Fills | None = None

    @property
    def version(self) -> str:
        return str(mindspore.__version__)

    def seed(self, seed: int) -> None:
        self._seed(seed)

    def seeding(self) -> list[tuple[Any, str]]:
        functions = [(mindspore, "set_seed"), (mindspore.common, "set_seed"), (mindspore, "manual_seed")]
        return [*functions, (mindspore.mint, "manual_seed"), (mindspore, "Generator")]

    def generator_state(self) -> np.ndarray | None:
        return None

    def set_generator_state(self, state: np.ndarray) -> None:
        pass

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, Tensor)

    def is_parameter(self, value: Any) -> bool:
        return isinstance(value, Parameter)

    def read(self, tensor: Any) -> tuple[np.ndarray, str]:
        values, dtype = self.view(tensor)
        return np.array(values, order="C", copy=True), dtype

    def view(self, tensor: Any) -> tuple[np.ndarray, str]:
        if isinstance(tensor, Parameter) and tensor.has_init:
            tensor.init_data()
        if not isinstance(tensor, Tensor):
            tensor = getattr(tensor, "values", tensor)
        if tensor.dtype == mindspore.bfloat16:
            bits = tensor.astype(mindspore.float32).asnumpy().view(np.uint32) >> 16
            return bits.astype(np.uint16), "bfloat16"
        values = tensor.asnumpy()
        return values, dtype_name(values.dtype)

    def make(self, values: np.ndarray, like: Any) -> Any:
        return Tensor(np.ascontiguousarray(values), like.dtype)

    def assign(self, tensor: Any, values: np.ndarray) -> None:
        if tensor.has_init:
            tensor.init_data()
        values = np.array(values).reshape(tensor.shape)
        tensor.set_data(Tensor(values, tensor.dtype))

    def _trains(self, layer: Any) -> bool:
        """Whether a cell makes whole training steps: it holds an optimizer."""
        return any(isinstance(child, OPTIMIZERS) for child in layer._cells.values())

    def _key(self, tensor: Any) -> tuple[int, tuple[int, ...], str]:
        return (tensor.data_ptr(), tuple(tensor.shape), str(tensor.dtype))

    def whole(self, tensor: Any) -> Any | None:
        return None

    def tag(self, tensor: Any) -> int | None:
        known = self._tags.get(self._key(tensor))
        return known[0] if known is not None and known[1] == tensor._version else None

    def set_tag(self, tensor: Any, tag: int) -> None:
        self._tags[self._key(tensor)] = (tag, tensor._version, tensor)

    def forget_tags(self) -> None:
        self._tags.clear()

    def recording(self, layer: Any) -> bool:
        return bool(_pynative_executor.requires_grad() or layer.requires_grad)

    def training(self, layer: Any) -> bool:
        return bool(layer.training)

    def is_wrapper(self, layer: Any) -> bool:
        return (
            isinstance(layer, _WRAPPERS)
            or type(layer).__module__.startswith("mindspore.nn.wrap.")
            or (type(layer).__module__ == "mindspore.train.amp" and list(layer._cells) == ["_backbone"])
            or self._trains(layer)
        )

    def unwrap(self, layer: Any) -> Any:
        while self.is_wrapper(layer):
            inner = next(
                (getattr(layer, n) for n in ("network", "_backbone", "_network", "fn") if hasattr(layer, n)), None
            )
            if not isinstance(inner, nn.Cell):
                held = [c for c in layer._cells.values() if c is not None and not isinstance(c, OPTIMIZERS)]
                inner = next((c for c in held if any(True for _ in c.get_parameters())), None)
            if inner is None:
                break
            layer = inner
        return layer

    def named_layers(self, root: Any) -> Iterable[tuple[str, Any]]:
        return list(root.cells_and_names())

    def held(self, root: Any) -> list[Held]:
        names: dict[int, list[str]] = {}
        found: dict[int, Held] = {}
        for path, layer in _all_cells(root):
            for role, tensor in layer._params.items():
                if isinstance(tensor, Parameter):
                    names.setdefault(id(tensor), []).append(".".join(filter(None, (path, role))))
                    trainable = bool(tensor.requires_grad)
                    buffer = not trainable and role not in _LEARNED
                    found.setdefault(id(tensor), Held([], tensor, path, role, trainable, buffer))
        return [held._replace(names=names[key]) for key, held in found.items()]

    def made(self, value: Any) -> Made:
        return made_of(value)

    def is_framework_layer(self, layer: Any) -> bool:
        return type(layer).__module__.partition(".")[0] == "mindspore"

    def on_gradient(self, tensor: Any, callback: Callable[[Any], None]) -> None:
        if tensor.dtype in (mindspore.float32, mindspore.float16, mindspore.bfloat16, mindspore.float64):
            try:
                tensor.register_hook(callback)
            except RuntimeError as error:
                if "requires grad is false" not in str(error):
                    raise

    def key(self, tensor: Any) -> int:
        return int(tensor.data_ptr())

    def gradients(self, parameters: list[Any]) -> list[Any]:
        return [None for _ in parameters]

    def optimizer_parameters(self, optimizer: Any) -> list[Any]:
        return list(optimizer.parameters)

    def optimizer_groups(self, optimizer: Any) -> list[dict[str, Any]]:
        return optimizer_groups(self, optimizer)

    def planned_rates(self, optimizer: Any, done: int, steps: int, epoch: int | None) -> list[Planned]:
        return planned_rates(self, optimizer, done, steps, epoch)

    def loader_length(self, loader: Any) -> int | None:
        return None

    def optimizer_state(self, optimizer: Any) -> dict[int, dict[str, Any]]:
        parameters = self.optimizer_parameters(optimizer)
        found: dict[int, dict[str, Any]] = {id(p): {} for p in parameters}
        for key, value in vars(optimizer).items():
            values = list(value) if isinstance(value, (tuple, list)) else []
            if len(values) != len(parameters) or not all(isinstance(v, Parameter) for v in values):
                continue
            if values[0] is parameters[0] or any(
                tuple(v.shape) != tuple(p.shape) for v, p in zip(values, parameters, strict=True)
            ):
                continue
            for parameter, state in zip(parameters, values, strict=True):
                found[id(parameter)][key] = state
        return found

    def is_loader(self, value: Any) -> bool:
        return datasets.is_loader(value)

    def describe_loader(self, loader: Any) -> LoaderEvent:
        return datasets.describe(loader, self.made(loader), self.session.source)

    def epoch(self, loader: Any) -> Iterator[Any]:
        return datasets.epoch(loader)

    def origin(self, tensor: Any) -> Origin | None:
        return self._fills.origin(tensor, self.read(tensor)[0]) if self._fills is not None else None

    def drawing(self) -> AbstractContextManager[None]:
        return self._fills.again() if self._fills is not None else nullcontext()

    def evaluate(self, layer: Any, call: Callable[[], Any]) -> Any:
        modes = [(cell, cell.training) for _, cell in layer.cells_and_names()]
        try:
            layer.set_train(False)
            with _no_grad():
                return call()
        finally:
            for cell, mode in modes:
                cell.set_train(mode)

    def dry(self, layer: Any, call: Callable[[], Any]) -> Any:
        kept = [(p, p.asnumpy().copy()) for p in layer.get_parameters() if not p.requires_grad]
        try:
            with _no_grad():
                return call()
        finally:
            for parameter, values in kept:
                if not np.array_equal(parameter.asnumpy(), values, equal_nan=True):
                    self.assign(parameter, values)


def _all_cells(root: Any) -> list[tuple[str, Any]]:
    """Every cell by every path that leads to it (`cells_and_names` gives each cell once)."""
    found: list[tuple[str, Any]] = []

    def walk(cell: Any, path: str, above: tuple[int, ...]) -> None:
        if id(cell) in above:
            return
        found.append((path, cell))
        for name, child in cell._cells.items():
            if child is not None:
                walk(child, f"{path}.{name}" if path else name, (*above, id(cell)))

    walk(root, "", ())
    return found
