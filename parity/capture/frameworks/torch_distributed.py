"""`torch.distributed` in a world of one: a group for each pass, and wrappers that leave the parameters alone."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel


def wrap_distributed(adapter: Any) -> None:
    """Lets `DistributedDataParallel` skip what a single process does not need.

    Sending the weights to nobody would overwrite them with themselves, and hide how they were drawn; numbers of
    devices have no meaning on the CPU.

    Args:
        adapter: The adapter that is being installed; it takes the changes back.
    """
    init = DistributedDataParallel.__init__
    names = inspect.signature(init).parameters

    @functools.wraps(init)
    def wrapped(this: Any, module: Any, *args: Any, **kwargs: Any) -> None:
        given = inspect.signature(init).bind_partial(this, module, *args, **kwargs).arguments
        given.update(given.pop("kwargs", {}))
        if "init_sync" in names and torch.distributed.is_initialized() and torch.distributed.get_world_size() == 1:
            given["init_sync"] = False
        if all(parameter.device.type == "cpu" for parameter in module.parameters()):
            given.pop("device_ids", None)
            given.pop("output_device", None)
        init(**given)

    if torch.distributed.is_available():
        adapter._replace(DistributedDataParallel, "__init__", wrapped)


def leave_group() -> None:
    """Ends the process group that the pass before left open: a script makes its own."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
