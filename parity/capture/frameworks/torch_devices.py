"""Device strings for hardware that is not there: the script runs on the CPU, and a note says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_ABSENT = ("cuda", "mps", "xpu", "npu")
_IDLE = ("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats", "ipc_collect")
"""Functions of `torch.cuda` that change no result, and raise without a device."""


def force_cpu(adapter: Any) -> None:
    """Lets a script that asks for a device which is not there go on with the CPU.

    Args:
        adapter: The adapter that is being installed; it takes the changes back.
    """
    absent = tuple(name for name in _ABSENT if not _present(name))
    if not absent:
        return

    def say(name: str) -> None:
        adapter.session.note(f"device {name} was run on the CPU")

    mode = Devices(absent, say)
    mode.__enter__()
    adapter._undo.append(lambda: mode.__exit__(None, None, None))
    load = torch.load

    def loaded(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        place = mode.place(map_location) if isinstance(map_location, (str, torch.device)) else None
        return load(f, map_location if place is None else place, *args, **kwargs)

    adapter._replace(torch, "load", loaded)
    if "cuda" in absent:
        for name in _IDLE:
            adapter._replace(torch.cuda, name, lambda *_, **__: None)
        adapter._replace(torch.nn.Module, "cuda", lambda module, device=None: module.to("cuda"))


def _present(name: str) -> bool:
    backend = torch.backends.mps if name == "mps" else getattr(torch, name, None)
    return backend is not None and bool(backend.is_available())


class Devices(TorchFunctionMode):
    """Puts the CPU in the place of devices that are not there.

    Args:
        absent: Their types.
        say: Is told which one was asked for.
    """

    def __init__(self, absent: tuple[str, ...], say: Callable[[str], None]) -> None:
        super().__init__()
        self.absent = absent
        self.say = say

    def place(self, value: Any) -> str | None:
        """`cpu` where a value names a device that is not there, else None."""
        kind = value.type if isinstance(value, torch.device) else value.partition(":")[0] if type(value) is str else ""
        if kind not in self.absent:
            return None
        self.say(kind)
        return "cpu"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.cuda:
            self.say("cuda")
            return args[0]
        if func is torch.Tensor.to and len(args) > 1:
            place = self.place(args[1])
            args = args if place is None else (args[0], place, *args[2:])
        if kwargs and "device" in kwargs:
            place = self.place(kwargs["device"])
            kwargs = kwargs if place is None else {**kwargs, "device": place}
        return func(*args, **(kwargs or {}))
