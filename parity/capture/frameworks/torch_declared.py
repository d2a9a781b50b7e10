"""What a PyTorch script makes and calls besides modules: optimizers, schedules, seeds, clipping, loss scalers."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from parity.capture.frameworks.base import Made, Planned
from parity.capture.frameworks.describe import bound_arguments


def wrap_declared(adapter: Any) -> None:
    """Tells the adapter's session about them; taken back with the adapter's other patches."""
    adapter._replace(torch.optim.Optimizer, "__new__", staticmethod(_new(adapter, None)))
    adapter._replace(LRScheduler, "__new__", staticmethod(_new(adapter, adapter.schedules)))
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        function = _called(adapter, "clip", getattr(torch.nn.utils, name))
        adapter._replace(torch.nn.utils, name, function)
        adapter._replace(torch.nn.utils.clip_grad, name, function)
    adapter._replace(torch, "manual_seed", _called(adapter, "seed", torch.manual_seed))
    exact = _called(adapter, "determinism", torch.use_deterministic_algorithms)
    adapter._replace(torch, "use_deterministic_algorithms", exact)
    scaler = torch.amp.GradScaler
    adapter._replace(scaler, "__init__", _constructed(adapter, "scaler", scaler.__init__))


def _new(adapter: Any, made_so_far: list[Any] | None) -> Any:
    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        made: Any = object.__new__(cls)
        file, line = adapter.session.source.here()
        arguments, given = bound_arguments(cls.__init__, args, kwargs, torch.is_tensor)  # type: ignore[misc]
        made._parity_made = Made(file, line, arguments, given)
        if made_so_far is not None:
            made_so_far.append(made)
        return made

    return new


def _called(adapter: Any, kind: str, function: Any) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        file, line = adapter.session.source.caller()
        if file is not None:
            arguments, given = bound_arguments(function, (*args,), kwargs, torch.is_tensor, method=False)
            adapter.session.declared(kind, function.__name__, Made(file, line, arguments, given))
        return function(*args, **kwargs)

    return wrapped


def _constructed(adapter: Any, kind: str, init: Any) -> Any:
    @functools.wraps(init)
    def wrapped(this: Any, *args: Any, **kwargs: Any) -> None:
        file, line = adapter.session.source.here()
        arguments, given = bound_arguments(init, args, kwargs, torch.is_tensor)
        adapter.session.declared(kind, type(this).__name__, Made(file, line, arguments, given))
        init(this, *args, **kwargs)

    return wrapped


def planned_rates(adapter: Any, optimizer: Any, done: int, steps: int, epoch: int | None) -> list[Planned]:
    """One learning rate a step for each parameter group, as the script's schedule would go on.

    The script was stopped right after its last optimizer call, so that its own `scheduler.step()` has not followed yet.

    Args:
        adapter: Knows the schedules that were constructed.
        optimizer: The optimizer that is asked about.
        done: Steps that were captured.
        steps: For how many further steps to tell.
        epoch: Steps in an epoch, None where that is not known.
    """
    inner = {id(part) for s in adapter.schedules for part in getattr(s, "_schedulers", ())}
    own = [s for s in adapter.schedules if getattr(s, "optimizer", None) is optimizer and id(s) not in inner]
    groups = optimizer.param_groups
    if not own:
        return []
    schedule = own[0]
    called = schedule.last_epoch
    if len(own) > 1 or isinstance(schedule, ReduceLROnPlateau) or not isinstance(called, int) or done < 2:
        return []
    if called == done - 1:
        epoch = 1
    elif epoch is None or epoch < 2 or called != (done - 1) // epoch:
        return []
    values: list[list[float]] = [[] for _ in groups]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(done, done + steps):
            if step % epoch == 0:
                try:
                    schedule.step()
                except Exception:  # the schedule may hold any code of the user's, and may end
                    break
            rates = [group["lr"] for group in groups]
            if any(isinstance(rate, complex) for rate in rates):  # a root of what is left, after the last step
                break
            for planned, rate in zip(values, rates, strict=True):
                planned.append(float(rate))
    names = [[adapter.session.parameter_name(p) or "" for p in g["params"]] for g in groups]
    kind, made = type(schedule).__name__, adapter.made(schedule)
    return [Planned(group, rates, kind, made, epoch) for group, rates in zip(names, values, strict=True) if rates]
