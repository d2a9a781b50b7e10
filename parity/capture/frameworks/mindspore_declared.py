"""What a MindSpore script makes and calls besides cells of the model: optimizers, schedules, seeds, clipping."""

from __future__ import annotations

import functools
import time
from typing import Any

import mindspore
import numpy as np
from mindspore import Model, Parameter, Tensor, nn, ops
from mindspore.experimental.optim.lr_scheduler import LRScheduler

from parity.capture.frameworks.base import Made, Planned
from parity.capture.frameworks.describe import bound_arguments
from parity.capture.loops import looping

_ATTRIBUTES = ("momentum", "use_nesterov", "nesterov", "dampening", "beta1", "beta2", "eps", "loss_scale")
_SECONDS = 1.0
"""Time that the rates of one schedule may take: each is a run of a cell."""


def wrap_declared(adapter: Any) -> None:
    """Tells the adapter's session about seeds, clipping and schedules."""
    seed = _called(adapter, "seed", mindspore.set_seed)
    adapter._replace(mindspore, "set_seed", seed)
    adapter._replace(mindspore.common, "set_seed", seed)
    for name in ("clip_by_global_norm", "clip_by_value", "clip_by_norm"):
        adapter._replace(ops, name, _called(adapter, "clip", getattr(ops, name)))

    for name in ("train", "fit"):
        adapter._replace(Model, name, _called(adapter, "epochs", getattr(Model, name), method=True))
    if hasattr(mindspore, "set_deterministic"):
        told = _called(adapter, "determinism", mindspore.set_deterministic)
        adapter._replace(mindspore, "set_deterministic", told)

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        made: Any = object.__new__(cls)
        file, line = adapter.session.source.here()
        arguments, given = bound_arguments(cls.__init__, args, kwargs, adapter.is_tensor)  # type: ignore[misc]
        made._parity_made = Made(file, line, arguments, given)
        adapter.schedules.append(made)
        return made

    adapter._replace(LRScheduler, "__new__", staticmethod(new))


def _called(adapter: Any, kind: str, function: Any, *, method: bool = False) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        file, line = adapter.session.source.caller()
        if file is not None:
            arguments, given = bound_arguments(function, args[method:], kwargs, adapter.is_tensor, method=method)
            if kind == "epochs" and looping(adapter.session.source):
                arguments = {}  # it is called once more for each round
            adapter.session.declared(kind, function.__name__, Made(file, line, arguments, given))
        return function(*args, **kwargs)

    return wrapped


def optimizer_groups(adapter: Any, optimizer: Any) -> list[dict[str, Any]]:
    """Effective settings in the coming step: parameters of equal learning rate and weight decay are one group.

    `decay_skipped` marks parameters that `nn.Optimizer` leaves out of the decay because of their name.
    """
    name = adapter.session.parameter_name
    if hasattr(optimizer, "param_groups"):
        groups = []
        for group in optimizer.param_groups:
            settings = {k: _scalar(v) for k, v in group.items() if k != "params"}
            settings = {k: v for k, v in settings.items() if v is None or isinstance(v, (int, float, str, tuple, list))}
            groups.append({**settings, "parameters": [name(p) for p in group["params"]]})
        return groups
    made = adapter.made(optimizer).arguments
    settings = {k: v for k, v in made.items() if isinstance(v, (int, float, bool, str))}
    for key in _ATTRIBUTES:
        value = _scalar(getattr(optimizer, key, None))
        if isinstance(value, (int, float, bool)):
            settings.setdefault(key, value)
    found: dict[Any, dict[str, Any]] = {}
    rates, decays = _rates(optimizer), _decays(optimizer)
    flags = list(getattr(optimizer, "decay_flags", ())) or [True] * len(optimizer.parameters)
    by_name = not getattr(optimizer, "is_group", False)
    for index, parameter in enumerate(optimizer.parameters):
        rate, decay, flag = rates[index], decays[index], bool(flags[index])
        own: dict[str, Any] = {**settings, "lr": rate}
        if decay is not None:
            own["weight_decay"] = decay if flag else 0.0
            if decay and not flag and by_name:
                own["decay_skipped"] = True
        same = (rate, own.get("weight_decay"), own.get("decay_skipped", False))
        found.setdefault(same, {**own, "parameters": []})["parameters"].append(name(parameter))
    return list(found.values())


def _scalar(value: Any) -> Any:
    if isinstance(value, Tensor):
        return float(value.asnumpy().reshape(-1)[0]) if value.size == 1 else None
    return value


def _each(optimizer: Any, value: Any) -> list[Any]:
    """One entry a parameter, of what an optimizer holds once or for each."""
    count = len(optimizer.parameters)
    held = list(value) if isinstance(value, (tuple, list, nn.CellList)) else [value] * count
    return held if len(held) == count else [None] * count


def _rates(optimizer: Any) -> list[float | None]:
    """Each parameter's learning rate; schedules are evaluated at the optimizer's own step."""
    known: dict[int, float | None] = {}
    found = []
    for rate in _each(optimizer, getattr(optimizer, "learning_rate", None)):
        if id(rate) not in known:
            value = rate(optimizer.global_step) if isinstance(rate, nn.Cell) else rate
            known[id(rate)] = _scalar(value)
        found.append(known[id(rate)])
    return found


def _decays(optimizer: Any) -> list[float | None]:
    """Each parameter's weight decay as it was given: the optimizer holds it multiplied by its loss scale."""
    scale = float(getattr(optimizer, "loss_scale", 1.0) or 1.0)
    found = []
    for decay in _each(optimizer, getattr(optimizer, "weight_decay", None)):
        value = _scalar(decay(optimizer.global_step) if isinstance(decay, nn.Cell) else decay)
        found.append(value / scale if isinstance(value, (int, float)) else None)
    return found


def planned_rates(adapter: Any, optimizer: Any, done: int, steps: int, epoch: int | None) -> list[Planned]:
    """One learning rate a step for each group of parameters, as the script's schedule would go on."""
    if hasattr(optimizer, "param_groups"):
        return _stepped(adapter, optimizer, done, steps, epoch)
    groups: dict[int, tuple[Any, list[str]]] = {}
    rates = _each(optimizer, getattr(optimizer, "learning_rate", None))
    for rate, parameter in zip(rates, optimizer.parameters, strict=True):
        groups.setdefault(id(rate), (rate, []))[1].append(adapter.session.parameter_name(parameter) or "")
    found = []
    for rate, names in groups.values():
        inner = getattr(rate, "learning_rate", None)
        if type(rate).__name__ == "_IteratorLearningRate" and isinstance(inner, Parameter):
            values = [float(v) for v in inner.asnumpy()[done : done + steps]]
            found.append(Planned(names, values, "list", adapter.made(optimizer)))
        elif isinstance(rate, nn.Cell) and not isinstance(inner, Parameter):
            found.append(Planned(names, _evaluated(rate, done, steps), type(rate).__name__, adapter.made(rate)))
    return [plan for plan in found if plan.values]


def _evaluated(schedule: Any, done: int, steps: int) -> list[float]:
    values: list[float] = []
    end = time.monotonic() + _SECONDS
    for step in range(done, done + steps):
        if time.monotonic() > end:
            break
        try:
            value = schedule(Tensor(np.array([step], np.int32)))
        except Exception:  # the schedule may hold any code of the user's
            break
        values.append(float(value.asnumpy().reshape(-1)[0]))
    return values


def _stepped(adapter: Any, optimizer: Any, done: int, steps: int, epoch: int | None) -> list[Planned]:
    """The same for `mindspore.experimental.optim`, whose schedules are stepped as torch's are."""
    own = [s for s in adapter.schedules if getattr(s, "optimizer", None) is optimizer]
    if len(own) != 1 or done < 2:
        return []
    schedule = own[0]
    called = _scalar(getattr(schedule, "last_epoch", None))
    if called == done - 1:
        epoch = 1
    elif epoch is None or epoch < 2 or called != (done - 1) // epoch:
        return []
    values: list[list[float]] = [[] for _ in optimizer.param_groups]
    end = time.monotonic() + _SECONDS
    for step in range(done, done + steps):
        if time.monotonic() > end:
            break
        if step % epoch == 0:
            try:
                schedule.step()
            except Exception:  # the schedule may hold any code of the user's
                break
        for rates, rate in zip(values, optimizer.lrs, strict=True):
            rates.append(float(rate.asnumpy()))
    names = [[adapter.session.parameter_name(p) or "" for p in g["params"]] for g in optimizer.param_groups]
    kind, made = type(schedule).__name__, adapter.made(schedule)
    return [Planned(group, rates, kind, made, epoch) for group, rates in zip(names, values, strict=True) if rates]
