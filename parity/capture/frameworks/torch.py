"""The PyTorch adapter: layers by patching `Module.__call__`, ops by a function mode, gradients by tensor hooks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.utils.data.dataloader as dataloader
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from parity.capture.frameworks import loaders
from parity.capture.frameworks.base import Held, Made, Origin, Planned, made_of, tensors_in
from parity.capture.frameworks.describe import bound_arguments, constructor_of
from parity.capture.frameworks.direct import follow_direct
from parity.capture.frameworks.torch_declared import planned_rates, wrap_declared
from parity.capture.frameworks.torch_devices import force_cpu
from parity.capture.frameworks.torch_distributed import leave_group, wrap_distributed
from parity.capture.frameworks.torch_eager import closed, wrap_eager
from parity.capture.frameworks.torch_func import transformed, wrap_transforms
from parity.capture.frameworks.torch_initial import WHOLE, Provenance, drawing
from parity.capture.frameworks.torch_ops import (
    IGNORED,
    TRANSPOSED,
    VIEWS,
    is_inplace,
    name_of,
    random_call,
    reduction_of,
)  # fmt: skip
from parity.capture.supported import SUPPORTED
from parity.model import LoaderEvent
from parity.tensors import dtype_name


class TorchAdapter:
    """Instruments PyTorch in this process."""

    name = "torch"
    versions = SUPPORTED["torch"][0]

    def __init__(self) -> None:
        self.session: Any = None
        self._undo: list[Callable[[], None]] = []
        self._epoch = 0
        self._mode: _Mode | None = None
        self._seed = torch.manual_seed
        self.schedules: list[Any] = []
        self._provenance: Provenance | None = None

    @property
    def version(self) -> str:
        return str(torch.__version__)

    # Installing -----------------------------------------------------------------------------------------------

    def install(self, session: Any) -> None:
        self.schedules.clear()
        if self.session is not None:
            self.session = session
            leave_group()
            if session.initials and self._provenance is not None:
                self._provenance.start()
            return
        self.session = session
        self._wrap_modules()
        self._wrap_optimizers()
        self._wrap_backward()
        loaders.wrap(self, dataloader._BaseDataLoaderIter, dataloader.DataLoader)
        self._follow_draws()
        self._open_functions()
        wrap_declared(self)
        wrap_eager(self)
        wrap_transforms(self)
        wrap_distributed(self)
        force_cpu(self)
        torch.backends.mha.set_fastpath_enabled(False)

    def uninstall(self) -> None:
        self.pop_mode()
        if self._provenance is not None:
            self._provenance.stop()
        while self._undo:
            self._undo.pop()()
        self.session = None

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        had = name in vars(owner)
        old = vars(owner).get(name)
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, old) if had else delattr(owner, name))

    def push_mode(self) -> None:
        """Starts to see functional ops."""
        if self._mode is None:
            self._mode = _Mode(self)
            self._mode.__enter__()

    def pop_mode(self) -> None:
        """Stops to see functional ops."""
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None

    def _wrap_modules(self) -> None:
        module = torch.nn.Module
        call = module.__call__
        named = module.named_parameters

        @functools.wraps(call)
        def wrapped_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            session = self.session
            if transformed() or not session.hears(self) or self.is_wrapper(layer):
                return call(layer, *args, **kwargs)
            if not session.wants(layer):
                return session.aside(layer, args, kwargs, functools.partial(call, layer))
            args, kwargs = session.enter(layer, args, kwargs)
            try:
                output = call(layer, *args, **kwargs)
            except BaseException:
                session.abandon()
                raise
            return session.leave(layer, output)

        @functools.wraps(named)
        def wrapped_named(layer: Any, *args: Any, **kwargs: Any) -> Any:
            self.session.parameters_asked(layer)
            return named(layer, *args, **kwargs)

        def new(cls: type, *args: Any, **kwargs: Any) -> Any:
            made: Any = object.__new__(cls)
            follow_direct(self, cls, "forward", transformed)
            file, line = self.session.source.here()
            constructor = constructor_of(cls, cls.__init__)  # type: ignore[misc]
            arguments, given = bound_arguments(constructor, args, kwargs, torch.is_tensor)
            object.__setattr__(made, "_parity_made", Made(file, line, arguments, given))
            return made

        self._replace(module, "__call__", wrapped_call)
        self._replace(module, "named_parameters", wrapped_named)
        self._replace(module, "__new__", staticmethod(new))

    def _wrap_optimizers(self) -> None:
        optimizer = torch.optim.Optimizer
        init = optimizer.__init__

        @functools.wraps(init)
        def wrapped_init(this: Any, *args: Any, **kwargs: Any) -> None:
            init(this, *args, **kwargs)
            self.session.optimizer_made(self, this)
            self.push_mode()

        def before(this: Any, args: Any, kwargs: Any) -> Any:
            args, kwargs = closed(this, args, kwargs)
            parameters = self.optimizer_parameters(this)
            given = [p.grad for p in parameters]
            new = self.session.optimizer_begins(this, given)
            for parameter, old, gradient in zip(parameters, given, new, strict=True):
                if gradient is not old:
                    parameter.grad = gradient
            self.session.busy = True
            return args, kwargs

        def after(this: Any, args: Any, kwargs: Any) -> None:
            self.session.busy = False
            self.session.optimizer_ends(this)

        self._replace(optimizer, "__init__", wrapped_init)
        for handle in (register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)):
            self._undo.append(handle.remove)

    def _wrap_backward(self) -> None:
        backward = torch.autograd.backward

        @functools.wraps(backward)
        def wrapped(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            session = self.session
            if session.in_backward or session.adapter is not self:
                return backward(tensors, *args, **kwargs)
            roots = [tensors] if torch.is_tensor(tensors) else list(tensors)
            session.backward_begins(roots[0] if len(roots) == 1 else None)
            try:
                result = backward(tensors, *args, **kwargs)
            except BaseException:
                session.in_backward = False
                raise
            session.backward_ends()
            return result

        self._replace(torch.autograd, "backward", wrapped)

    def _follow_draws(self) -> None:
        """Follows random numbers into the parameters, until the first step."""
        if not self.session.initials:
            return
        provenance = self._provenance = Provenance(self.session.source.here, self.session.note)
        provenance.start()
        load = torch.nn.Module.load_state_dict
        deepcopy = torch.Tensor.__deepcopy__

        @functools.wraps(deepcopy)
        def wrapped_copy(tensor: Any, memo: Any) -> Any:
            result = deepcopy(tensor, memo)
            if type(tensor) is torch.Tensor:
                provenance.copied(tensor, result)
            return result

        @functools.wraps(load)
        def wrapped(layer: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
            result = load(layer, state, *args, **kwargs)
            own = layer.state_dict(keep_vars=True)
            provenance.loaded([t for name, t in own.items() if name in state and torch.is_tensor(t)])
            return result

        self._replace(torch.nn.Module, "load_state_dict", wrapped)
        self._replace(torch.Tensor, "__deepcopy__", wrapped_copy)
        for name in WHOLE:
            self._replace(torch.nn.init, name, provenance.filling(getattr(torch.nn.init, name)))

    def _open_functions(self) -> None:
        """Lets the function mode look inside the Python functions of `torch.nn.functional`."""
        functional = torch.nn.functional
        for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
            if name in vars(functional):
                self._replace(functional, name, lambda *_: False)

    # Ops ------------------------------------------------------------------------------------------------------

    def function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function mode calls for every op."""
        session = self.session
        if not session.following or func in IGNORED or transformed():
            result = func(*args, **kwargs)
            if session.glimpsing and func not in IGNORED:
                session.glimpsed([args, kwargs], result)
            return result
        name = name_of(func)
        if name == "__set__" or (getattr(func, "__name__", "") == "__get__" and name not in TRANSPOSED):
            return func(*args, **kwargs)
        args, kwargs = session.arguments(func, args, kwargs)
        inplace = is_inplace(name)
        first = self.tag(args[0]) if inplace and args and torch.is_tensor(args[0]) else None
        drawn = random_call(name, func, args, kwargs, self)
        result = drawn if drawn is not None else func(*args, **kwargs)
        if session.light:
            return result
        if not (torch.is_tensor(result) or isinstance(result, (tuple, list))):
            return result
        inputs = [t for _, t in tensors_in([*args, kwargs] if kwargs else list(args), torch.is_tensor)]
        if not any(True for _ in tensors_in(result, torch.is_tensor)):
            return result
        return session.op(
            name,
            inputs,
            result,
            view=name in VIEWS,
            inplace=inplace,
            reduction=reduction_of(name, inputs, result),
            first=first,
        )

    # Describing -----------------------------------------------------------------------------------------------

    def seed(self, seed: int) -> None:
        self._seed(seed)

    def seeding(self) -> list[tuple[Any, str]]:
        return [(torch, "manual_seed"), (torch.random, "manual_seed"), (torch, "Generator")]

    def generator_state(self) -> np.ndarray | None:
        return np.asarray(torch.default_generator.get_state().numpy())

    def set_generator_state(self, state: np.ndarray) -> None:
        try:
            torch.default_generator.set_state(torch.from_numpy(np.array(state, np.uint8)))
        except RuntimeError:
            pass  # a state of another version of torch

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    def is_parameter(self, value: Any) -> bool:
        return isinstance(value, torch.nn.Parameter)

    def read(self, tensor: Any) -> tuple[np.ndarray, str]:
        values, dtype = self.view(tensor)
        return np.array(values, order="C", copy=True), dtype

    def view(self, tensor: Any) -> tuple[np.ndarray, str]:
        with torch._C.DisableTorchFunction():
            tensor = tensor.detach()
            if tensor.is_sparse:
                tensor = tensor.to_dense()
            if tensor.dtype is torch.bfloat16:
                return tensor.contiguous().view(torch.int16).cpu().numpy().view(np.uint16), "bfloat16"
            if tensor.is_conj() or tensor.is_neg():
                tensor = tensor.resolve_conj().resolve_neg()
            values = tensor.cpu().numpy()
        return values, dtype_name(values.dtype)

    def make(self, values: np.ndarray, like: Any) -> Any:
        return torch.from_numpy(np.array(values)).to(dtype=like.dtype, device=like.device)

    def assign(self, tensor: Any, values: np.ndarray) -> None:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            tensor.detach().copy_(torch.from_numpy(np.array(values)).reshape(tensor.shape))

    def whole(self, tensor: Any) -> Any | None:
        base = tensor._base
        fits = base is not None and not base.requires_grad and tensor.numel() < base.numel() <= 2 * tensor.numel()
        return base if fits else None

    def tag(self, tensor: Any) -> int | None:
        known = getattr(tensor, "_parity", None)
        if known is None or known[0] != self._epoch or known[2] != _version(tensor) or known[3] != id(tensor):
            return None
        return int(known[1])

    def set_tag(self, tensor: Any, tag: int) -> None:
        tensor._parity = (self._epoch, tag, _version(tensor), id(tensor))

    def forget_tags(self) -> None:
        self._epoch += 1

    def recording(self, layer: Any) -> bool:
        return torch.is_grad_enabled()

    def training(self, layer: Any) -> bool:
        return bool(layer.training)

    def is_wrapper(self, layer: Any) -> bool:
        return isinstance(layer, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel))

    def unwrap(self, layer: Any) -> Any:
        while self.is_wrapper(layer):
            layer = layer.module
        return layer

    def named_layers(self, root: Any) -> Iterable[tuple[str, Any]]:
        return list(root.named_modules())

    def held(self, root: Any) -> list[Held]:
        names: dict[int, list[str]] = {}
        found: dict[int, Held] = {}
        for path, layer in root.named_modules(remove_duplicate=False):
            for holder, buffer in ((layer._parameters, False), (layer._buffers, True)):
                for role, tensor in holder.items():
                    if tensor is None:
                        continue
                    names.setdefault(id(tensor), []).append(".".join(filter(None, (path, role))))
                    trainable = not buffer and tensor.requires_grad
                    found.setdefault(id(tensor), Held([], tensor, path, role, trainable, buffer))
        return [held._replace(names=names[key]) for key, held in found.items()]

    def made(self, value: Any) -> Made:
        return made_of(value)

    def is_framework_layer(self, layer: Any) -> bool:
        return type(layer).__module__.partition(".")[0] == "torch"

    def on_gradient(self, tensor: Any, callback: Callable[[Any], None]) -> None:
        if tensor.requires_grad:
            with torch._C.DisableTorchFunction():
                tensor.register_hook(lambda gradient: None if torch.is_grad_enabled() else callback(gradient))

    def key(self, tensor: Any) -> int:
        return id(tensor)

    def gradients(self, parameters: list[Any]) -> list[Any]:
        return [getattr(p, "grad", None) for p in parameters]

    def optimizer_parameters(self, optimizer: Any) -> list[Any]:
        return [p for group in optimizer.param_groups for p in group["params"]]

    def optimizer_groups(self, optimizer: Any) -> list[dict[str, Any]]:
        plain = lambda v: v.item() if torch.is_tensor(v) and v.numel() == 1 else v  # noqa: E731
        groups = []
        for group in optimizer.param_groups:
            settings = {k: plain(v) for k, v in group.items() if k != "params"}
            settings = {k: v for k, v in settings.items() if v is None or isinstance(v, (int, float, bool, str, tuple))}
            groups.append({**settings, "parameters": [self.session.parameter_name(p) for p in group["params"]]})
        return groups

    def planned_rates(self, optimizer: Any, done: int, steps: int, epoch: int | None) -> list[Planned]:
        return planned_rates(self, optimizer, done, steps, epoch)

    def loader_length(self, loader: Any) -> int | None:
        try:
            return len(loader)
        except TypeError:
            return None

    def optimizer_state(self, optimizer: Any) -> dict[int, dict[str, Any]]:
        return {
            id(parameter): {k: v for k, v in state.items() if torch.is_tensor(v)}
            for parameter, state in optimizer.state.items()
        }

    def is_loader(self, value: Any) -> bool:
        return isinstance(value, dataloader.DataLoader)

    def describe_loader(self, loader: Any) -> LoaderEvent:
        return loaders.describe(loader, self.made(loader), self.session.source, torch.is_tensor)

    def epoch(self, loader: Any) -> Iterator[Any]:
        return iter(loader)

    def origin(self, tensor: Any) -> Origin | None:
        if self._provenance is None:
            return None
        self._provenance.stop()
        return self._provenance.origin(tensor)

    def drawing(self) -> AbstractContextManager[None]:
        return drawing()

    def evaluate(self, layer: Any, call: Callable[[], Any]) -> Any:
        modes = [(module, module.training) for module in layer.modules()]
        try:
            layer.eval()
            with torch.no_grad():
                return call()
        finally:
            for module, mode in modes:
                module.training = mode

    def dry(self, layer: Any, call: Callable[[], Any]) -> Any:
        buffers = [(b, b.detach().clone()) for b in layer.buffers()]
        state = torch.get_rng_state()
        try:
            with torch.no_grad():
                return call()
        finally:
            torch.set_rng_state(state)
            with torch.no_grad():
                for buffer, old in buffers:
                    buffer.copy_(old)


def _version(tensor: Any) -> int:
    """How often a tensor was changed in place; what `torch.inference_mode` makes does not know."""
    try:
        return int(tensor._version)
    except RuntimeError:
        return 0


class _Mode(TorchFunctionMode):
    def __init__(self, adapter: TorchAdapter) -> None:
        self.adapter = adapter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.adapter.function(func, args, kwargs or {})
