"""What a framework adapter must offer. A framework is imported by its adapter only, inside the child process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np

from parity.model import LoaderEvent


class Held(NamedTuple):
    """A parameter or buffer where it hangs in the model: every path to it, its owner's path and attribute."""

    names: list[str]
    tensor: Any
    owner: str
    role: str
    trainable: bool
    buffer: bool


class Origin(NamedTuple):
    """Where a parameter's values came from.

    Attributes:
        key: Equal for parameters that are filled in the same way; None for values that were not drawn at random.
        draw: Makes fresh values; gives None where that cannot be done.
        law: What filled it, in the framework's words.
        file: The script's own file that called for it.
        line: The line in it.
        loaded: Whether the values came from a checkpoint.
    """

    key: Hashable | None = None
    draw: Callable[[], np.ndarray | None] | None = None
    law: str = ""
    file: str | None = None
    line: int | None = None
    loaded: bool = False


class Made(NamedTuple):
    """How an object was constructed: source place, and the effective arguments after defaults."""

    file: str | None
    line: int | None
    arguments: dict[str, Any]
    given: list[str]


class Planned(NamedTuple):
    """The learning rates, one a step, that a schedule would set for some parameters; how the schedule was made.

    `every` is the number of steps after which the schedule goes on.
    """

    parameters: list[str]
    values: list[float]
    type: str
    made: Made
    every: int = 1


def made_of(value: Any) -> Made:
    """How an object was constructed, as an adapter noted it then; nothing is known of others."""
    known = getattr(value, "_parity_made", None)
    return known if isinstance(known, Made) else Made(None, None, {}, [])


class Adapter(Protocol):
    """One framework. Objects of the framework are `Any` outside its adapter."""

    name: str
    versions: str

    @property
    def version(self) -> str:
        """The installed framework's version."""

    def install(self, session: Any) -> None:
        """Starts to tell `session` what happens; idempotent."""

    def uninstall(self) -> None:
        """Takes all instrumentation back."""

    def push_mode(self) -> None:
        """Starts to tell functional ops; idempotent."""

    def seed(self, seed: int) -> None:
        """Seeds the framework's generators."""

    def seeding(self) -> list[tuple[Any, str]]:
        """Where scripts find the framework's seeding functions and classes of generators: modules, and names there."""

    def generator_state(self) -> np.ndarray | None:
        """The state of the generator that loaders and the model draw from, uint8; None where it cannot be had."""

    def set_generator_state(self, state: np.ndarray) -> None:
        """Goes on from such a state; one that the framework refuses changes nothing."""

    def is_tensor(self, value: Any) -> bool:
        """Whether a value is a tensor of this framework."""

    def is_parameter(self, value: Any) -> bool:
        """Whether a tensor is a parameter."""

    def read(self, tensor: Any) -> tuple[np.ndarray, str]:
        """A copy of the values (bfloat16 as bits in uint16) and the element type's name."""

    def view(self, tensor: Any) -> tuple[np.ndarray, str]:
        """The same without a copy where that can be: to look at before the script goes on, and not to change."""

    def make(self, values: np.ndarray, like: Any) -> Any:
        """A tensor of these values with the element type of `like`."""

    def assign(self, tensor: Any, values: np.ndarray) -> None:
        """Writes values into a parameter or buffer, in place."""

    def whole(self, tensor: Any) -> Any | None:
        """The tensor that this one is the greater part of, as `ids[:, :-1]` is of `ids`; None where it is no part."""

    def tag(self, tensor: Any) -> int | None:
        """The identity that `set_tag` gave this tensor in this step, unless it was changed in place since."""

    def set_tag(self, tensor: Any, tag: int) -> None:
        """Gives the tensor an identity that holds until the step ends."""

    def forget_tags(self) -> None:
        """Ends a step."""

    def recording(self, layer: Any) -> bool:
        """Whether a call of this layer, now, will be differentiated."""

    def training(self, layer: Any) -> bool:
        """The layer's train/eval flag."""

    def is_wrapper(self, layer: Any) -> bool:
        """Whether a layer only wraps the model for training or distribution."""

    def unwrap(self, layer: Any) -> Any:
        """The model behind the framework's own wrappers."""

    def named_layers(self, root: Any) -> Iterable[tuple[str, Any]]:
        """Every layer below and with `root`, by dotted path."""

    def held(self, root: Any) -> list[Held]:
        """Every parameter and buffer of the model, each tensor once."""

    def made(self, value: Any) -> Made:
        """How a layer or optimizer was constructed."""

    def is_framework_layer(self, layer: Any) -> bool:
        """Whether the layer's class comes from the framework itself."""

    def on_gradient(self, tensor: Any, callback: Callable[[Any], None]) -> None:
        """Calls back with the gradient (summed over consumers) when it has arrived at the tensor."""

    def key(self, tensor: Any) -> int:
        """What tells a parameter from others wherever the framework shows it (it may be wrapped anew)."""

    def gradients(self, parameters: list[Any]) -> list[Any]:
        """The gradients that hang at the parameters now, None where there is none."""

    def optimizer_parameters(self, optimizer: Any) -> list[Any]:
        """What an optimizer updates."""

    def optimizer_groups(self, optimizer: Any) -> list[dict[str, Any]]:
        """Its groups' effective settings in the coming step as plain values, and their parameters by name."""

    def planned_rates(self, optimizer: Any, done: int, steps: int, epoch: int | None) -> list[Planned]:
        """The learning rates that the script's schedule would have set after the captured steps.

        Args:
            optimizer: The optimizer.
            done: How many steps were captured.
            steps: For how many further steps to tell.
            epoch: Steps in an epoch, None where that is not known.

        Returns:
            One entry for each group of parameters; empty where there is no schedule, or where it cannot be told.
        """

    def loader_length(self, loader: Any) -> int | None:
        """Batches that a loader's iterator yields in one epoch, None where it cannot tell."""

    def optimizer_state(self, optimizer: Any) -> dict[int, dict[str, Any]]:
        """State tensors by the id of the parameter object."""

    def is_loader(self, value: Any) -> bool:
        """Whether something that was made as a loader gives batches itself, and is no part of another loader."""

    def describe_loader(self, loader: Any) -> LoaderEvent:
        """A data loader's arguments, its pipeline, and whether it shuffles."""

    def epoch(self, loader: Any) -> Iterator[Any]:
        """The batches of one epoch, from a new iterator."""

    def origin(self, tensor: Any) -> Origin | None:
        """Where a parameter's initial values came from; None where nothing was seen of it."""

    def drawing(self) -> AbstractContextManager[None]:
        """In here initial values can be drawn again, and the random generators are left as they were."""

    def evaluate(self, layer: Any, call: Callable[[], Any]) -> Any:
        """Runs a forward pass in evaluation mode, without gradients; every layer has its own mode again after it."""

    def dry(self, layer: Any, call: Callable[[], Any]) -> Any:
        """Runs a forward pass that leaves no trace: no gradient, buffers restored."""


def tensors_in(value: Any, is_tensor: Callable[[Any], bool], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor in a nest of tuples, lists, dicts, dataclasses and objects with tensor fields, with its place.

    Yields:
        (name, tensor), the name like `0.hidden` (empty for a bare tensor).
    """
    if value is None or isinstance(value, (str, bytes, int, float, bool, complex)):
        return
    if is_tensor(value):
        yield prefix, value
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from tensors_in(item, is_tensor, f"{prefix}.{index}" if prefix else str(index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors_in(item, is_tensor, f"{prefix}.{key}" if prefix else str(key))
    elif hasattr(value, "__dataclass_fields__"):
        for key in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, key, None), is_tensor, f"{prefix}.{key}" if prefix else str(key))


def replace_tensors(
    value: Any, replace: Callable[[str, Any], Any], is_tensor: Callable[[Any], bool], prefix: str = ""
) -> Any:
    """The same nest with each tensor put through `replace(name, tensor)`; the nest itself where nothing changed."""
    if value is None or isinstance(value, (str, bytes, int, float, bool, complex)):
        return value
    if is_tensor(value):
        return replace(prefix, value)
    if isinstance(value, (list, tuple)):
        items = [
            replace_tensors(v, replace, is_tensor, f"{prefix}.{i}" if prefix else str(i)) for i, v in enumerate(value)
        ]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if hasattr(value, "_fields"):
            return type(value)(*items)
        try:
            return type(value)(items)
        except TypeError:
            return value
    if isinstance(value, dict):
        pairs = {
            k: replace_tensors(v, replace, is_tensor, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()
        }
        if all(pairs[k] is value[k] for k in pairs):
            return value
        try:
            new = type(value)()
            new.update(pairs)
            return new
        except TypeError:
            return pairs
    if hasattr(value, "__dataclass_fields__"):
        for key in value.__dataclass_fields__:
            old = getattr(value, key, None)
            new = replace_tensors(old, replace, is_tensor, f"{prefix}.{key}" if prefix else str(key))
            if new is not old:
                object.__setattr__(value, key, new)
    return value
