"""The MindSpore adapter: layers by patching `Cell.__call__`, ops by a dispatch mode, gradients by tensor hooks."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

import mindspore
import mindspore.context
import mindspore.ops.composite.base as composite
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Initializer
from mindspore.nn.learning_rate_schedule import LearningRateSchedule
from mindspore.train import serialization

from parity.capture.frameworks import mindspore_data as datasets
from parity.capture.frameworks.base import Made, tensors_in
from parity.capture.frameworks.describe import bound_arguments, constructor_of
from parity.capture.frameworks.direct import follow_direct
from parity.capture.frameworks.mindspore_access import OPTIMIZERS, MindSporeAccess
from parity.capture.frameworks.mindspore_declared import wrap_declared
from parity.capture.frameworks.mindspore_initial import NUMPY, OPS, Fills
from parity.capture.frameworks.mindspore_ops import DRAWS, VIEWS, dropout, reduction_of

grad_func = importlib.import_module("mindspore.ops.function.grad.grad_func")
_FLOATS = (mindspore.float32, mindspore.float16, mindspore.float64)
_COMPILED = (*OPTIMIZERS, LearningRateSchedule)
"""Cells that MindSpore compiles from their source, also in PyNative mode."""


class MindSporeAdapter(MindSporeAccess):
    """Instruments MindSpore in this process. Everything runs in PyNative mode on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self._undo: list[Callable[[], None]] = []
        self._mode: _Mode | None = None
        self._loss: Any = None

    # Installing -----------------------------------------------------------------------------------------------

    def install(self, session: Any) -> None:
        self.schedules.clear()
        if self.session is not None:
            self.session = session
            if session.initials and self._fills is not None:
                self._fills.start()
            return
        self.session = session
        self._force_pynative()
        self._force_cpu()
        self._wrap_cells()
        self._wrap_optimizers()
        self._wrap_gradients()
        datasets.wrap(self)
        self._replace(ops.Dropout, "__call__", functools.partialmethod(dropout, self, ops.Dropout.__call__))
        self._wrap_indexing()
        self._wrap_loss_scalers()
        wrap_declared(self)
        self._follow_initializers()
        mindspore.runtime.launch_blocking()

    def uninstall(self) -> None:
        self.pop_mode()
        while self._undo:
            self._undo.pop()()
        self.session = None

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        had = name in vars(owner)
        old = getattr(owner, name, None)
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

    def _force_pynative(self) -> None:
        """Graph mode and `ms.jit` hide every layer from Python: the same code is run eagerly, and a note says so."""
        kind = mindspore.context._Context
        original = kind.set_mode

        def set_mode(context: Any, mode: Any) -> None:
            if mode == mindspore.GRAPH_MODE:
                self.session.note("GRAPH_MODE was run in PyNative mode")
            original(context, mindspore.PYNATIVE_MODE)

        setters = dict(kind.setters)
        self._replace(kind, "set_mode", set_mode)
        self._replace(kind, "setters", {**setters, "mode": set_mode})

        def jit(function: Any = None, *_: Any, **__: Any) -> Any:
            if function is None:
                return jit
            if self.session.source.here()[0] is not None:
                self.session.note("ms.jit was run in PyNative mode")
            return function

        self._replace(mindspore, "jit", jit)
        if hasattr(mindspore, "ms_function"):
            self._replace(mindspore, "ms_function", jit)
        # Layers that are computed again in the backward pass would be seen twice; the values are the same without it.
        self._replace(nn.Cell, "recompute", lambda *_, **__: None)
        self._replace(mindspore, "recompute", lambda block, *args, **kwargs: block(*args, **kwargs))

    def _force_cpu(self) -> None:
        """Device strings for hardware that is not there run on the CPU, and a note says so."""
        kind = mindspore.context._Context
        original = kind.set_device_target

        def set_device_target(context: Any, target: str) -> None:
            if target != "CPU":
                self.session.note(f"device target {target} was run on the CPU")
            original(context, "CPU")

        def set_device(device_target: str, device_id: int | None = None) -> None:
            if device_target != "CPU":
                self.session.note(f"device target {device_target} was run on the CPU")

        self._replace(kind, "set_device_target", set_device_target)
        self._replace(kind, "setters", {**kind.setters, "device_target": set_device_target})
        self._replace(mindspore, "set_device", set_device)

    def _wrap_cells(self) -> None:
        cell = nn.Cell
        call = cell.__call__
        new = cell.__new__

        @functools.wraps(call)
        def wrapped_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            session = self.session
            if isinstance(layer, OPTIMIZERS):
                return self._optimize(layer, call, args, kwargs)
            if session.adapter is self and not session.stack and self._trains(layer):
                args, kwargs = self.session.step_arguments(args, kwargs, 0)
            if self.is_wrapper(layer) or not session.hears(self):
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

        def wrapped_new(cls: type, *args: Any, **kwargs: Any) -> Any:
            made = new(cls, *args, **kwargs)
            if not issubclass(cls, _COMPILED) and not hasattr(cls, "bprop"):
                follow_direct(self, cls, "construct")
            file, line = self.session.source.here()
            arguments, given = bound_arguments(constructor_of(cls, _constructor(cls)), args, kwargs, self.is_tensor)
            object.__setattr__(made, "_parity_made", Made(file, line, arguments, given))
            return made

        self._replace(cell, "__call__", wrapped_call)
        self._replace(cell, "__new__", staticmethod(wrapped_new))
        for name in ("trainable_params", "get_parameters", "parameters_and_names"):
            self._replace(cell, name, self._asking(getattr(cell, name)))

    def _asking(self, method: Any) -> Any:
        @functools.wraps(method)
        def wrapped(layer: Any, *args: Any, **kwargs: Any) -> Any:
            inside = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == "mindspore"
            if not inside and not isinstance(layer, OPTIMIZERS):
                self.session.parameters_asked(layer)
            return method(layer, *args, **kwargs)

        return wrapped

    def _wrap_optimizers(self) -> None:
        for kind in OPTIMIZERS:
            self._replace(kind, "__init__", self._making(kind.__init__))

    def _making(self, init: Any) -> Any:
        @functools.wraps(init)
        def wrapped(this: Any, *args: Any, **kwargs: Any) -> None:
            init(this, *args, **kwargs)
            self.session.optimizer_made(self, this)
            self.push_mode()

        return wrapped

    def _optimize(self, optimizer: Any, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = self.session
        if session.busy or not args or session.adapter is not self:
            return call(optimizer, *args, **kwargs)
        given = list(args[0]) if isinstance(args[0], (tuple, list)) else [args[0]]
        new = session.optimizer_begins(optimizer, given)
        if any(a is not b for a, b in zip(given, new, strict=True)):
            args = (tuple(new), *args[1:])
        session.busy = True
        try:
            result = call(optimizer, *args, **kwargs)
        finally:
            session.busy = False
        session.optimizer_ends(optimizer)
        return result

    def _wrap_gradients(self) -> None:
        forward = composite._pynative_forward_run
        backward = composite._pynative_func_grad_backward
        plain_forward = composite._pynative_func_grad_forward

        @functools.wraps(forward)
        def wrapped_forward(fn: Any, sens_param: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._depth:
                args, kwargs = self.session.step_arguments(args, kwargs, 1 if sens_param else 0)
            self._depth += 1
            try:
                run_args, out = forward(fn, sens_param, *args, **kwargs)
            finally:
                self._depth -= 1
            self._loss = next((t for _, t in tensors_in(out, self.is_tensor)), None)
            return run_args, out

        @functools.wraps(backward)
        def wrapped_backward(fn: Any, grad_op: Any, weights: Any, position: Any, has_aux: Any, *run: Any) -> Any:
            session = self.session
            if session.adapter is not self or session.in_backward or self._depth:
                return backward(fn, grad_op, weights, position, has_aux, *run)
            session.backward_begins(self._loss, self._sensitivity(grad_op, run))
            try:
                out = backward(fn, grad_op, weights, position, has_aux, *run)
            except BaseException:
                session.in_backward = False
                raise
            session.backward_ends(_by_parameter(weights, out))
            return out

        def wrapped_plain(fn: Any, *args: Any, **kwargs: Any) -> Any:
            out = plain_forward(fn, *args, **kwargs)
            self._loss = next((t for _, t in tensors_in(out, self.is_tensor)), None)
            return out

        self._replace(composite, "_pynative_forward_run", wrapped_forward)
        self._replace(composite, "_pynative_func_grad_backward", wrapped_backward)
        self._replace(grad_func, "_pynative_func_grad_backward", wrapped_backward)
        self._replace(grad_func, "_pynative_func_grad_forward", wrapped_plain)

    def _sensitivity(self, grad_op: Any, run: tuple[Any, ...]) -> float:
        """The loss scale that a training step gives as the gradient of its loss (`sens`); 1 for any other gradient."""
        if type(grad_op) is not ops.GradOperation or not grad_op.sens_param or self._loss is None or not run:
            return 1.0
        sens = run[-1]
        if self._loss.size != 1 or not self.is_tensor(sens) or sens.size != 1 or self._loss.dtype not in _FLOATS:
            return 1.0
        scale = float(sens.asnumpy().reshape(-1)[0])
        return scale if scale > 1 and np.isfinite(scale) else 1.0

    def _wrap_indexing(self) -> None:
        """Basic slicing is not dispatched as an op."""
        get = Tensor.__getitem__

        @functools.wraps(get)
        def wrapped(tensor: Any, index: Any) -> Any:
            result = get(tensor, index)
            session = self.session
            if not session.listening:
                return result
            return session.op("getitem", [tensor], result, view=True, inplace=False, reduction=1)

        self._replace(Tensor, "__getitem__", wrapped)

    def _wrap_loss_scalers(self) -> None:
        """Notes that a script scales its loss, so that a scaled loss can be told from a wrong one."""
        for name in ("StaticLossScaler", "DynamicLossScaler", "FixedLossScaleManager", "DynamicLossScaleManager"):
            kind = getattr(mindspore.amp, name, None)
            if kind is not None:
                self._replace(kind, "__init__", self._scaling(kind.__init__))

    def _follow_initializers(self) -> None:
        """Remembers what initializers and checkpoints put into parameters."""
        if not self.session.initials:
            return
        fills = self._fills = Fills(self.session.source.here)
        self._replace(Initializer, "__call__", lambda this, array: fills.called(this, array))
        for name in NUMPY:
            self._replace(np.random, name, fills.numpy(getattr(np.random, name)))
        for name in OPS:
            self._replace(ops, name, fills.ops(getattr(ops, name)))
        self._replace(Parameter, "set_data", fills.setter(Parameter.set_data))
        load = mindspore.load_param_into_net

        @functools.wraps(load)
        def wrapped(net: Any, parameters: Any, *args: Any, **kwargs: Any) -> Any:
            result = load(net, parameters, *args, **kwargs)
            missing = result[0] if isinstance(result, tuple) and result else result
            known = [p for p in net.get_parameters() if p.name in parameters and p.name not in (missing or ())]
            fills.loaded(known)
            return result

        for owner in (mindspore, mindspore.train, serialization):
            if hasattr(owner, "load_param_into_net"):
                self._replace(owner, "load_param_into_net", wrapped)

    def _scaling(self, init: Any) -> Any:
        @functools.wraps(init)
        def wrapped(this: Any, *args: Any, **kwargs: Any) -> None:
            self.session.facts["loss_scale"] = True
            init(this, *args, **kwargs)

        return wrapped

    # Ops ------------------------------------------------------------------------------------------------------

    def dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What the dispatch mode calls for every op."""
        session = self.session
        if not session.following:
            result = func(*args)
            if session.glimpsing:
                session.glimpsed(list(args), result)
            return result
        name = str(func.name)
        if name in DRAWS:
            result = func(*args)
            drawn = result[0] if isinstance(result, tuple) else result
            values = session.random(DRAWS[name], tuple(drawn.shape), lambda: drawn)
            if values is not drawn:
                new = values if self.is_tensor(values) else self.make(values.reshape(drawn.shape), drawn)
                result = (new, *result[1:]) if isinstance(result, tuple) else new
        else:
            result = func(*args)
        found = [] if session.light else [t for _, t in tensors_in(result, self.is_tensor)]
        if not found or name.endswith("Grad"):
            return result
        inputs = [t for _, t in tensors_in(list(args), self.is_tensor)]
        session.op(name, inputs, result, view=name in VIEWS, inplace=name.startswith("Inplace"),
                   reduction=reduction_of(name, inputs, found[0]))  # fmt: skip
        return result


class _Mode(mindspore.MsDispatchMode):
    def __init__(self, adapter: MindSporeAdapter) -> None:
        super().__init__()
        self.adapter = adapter

    def __ms_dispatch__(self, func: Any, args: Any, kwargs: Any = None) -> Any:
        return self.adapter.dispatched(func, args, kwargs)


def _by_parameter(weights: Any, out: Any) -> dict[int, Any]:
    """Gradients by parameter id, from the several shapes in which the gradient functions return them."""
    parameters = [weights] if isinstance(weights, Parameter) else list(weights or [])
    if not parameters:
        return {}
    for part in (out, out[-1] if isinstance(out, tuple) and out else None):
        values = [part] if isinstance(part, Tensor) else list(part) if isinstance(part, (tuple, list)) else []
        if len(values) == len(parameters) and all(
            isinstance(v, Tensor) and tuple(v.shape) == tuple(p.shape) for v, p in zip(values, parameters, strict=True)
        ):
            return {id(p): v for p, v in zip(parameters, values, strict=True)}
    return {}


def _constructor(cls: type) -> Any:
    """The constructor with its real signature: optimizers hide theirs behind a decorator without `wraps`."""
    init = cls.__init__  # type: ignore[misc]
    for cell in getattr(init, "__closure__", None) or ():
        inner = cell.cell_contents
        if callable(inner) and getattr(inner, "__name__", "") == "__init__":
            return inner
    return init
