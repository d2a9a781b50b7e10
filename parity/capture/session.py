"""One run of a script: the active layer, the step, the model and its names. Subclasses record or force."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from parity.capture.companions import Companion, Companions
from parity.capture.evaluation import Given, evaluate
from parity.capture.frameworks.base import Adapter, Held, Made
from parity.capture.source import Source


class StopRun(BaseException):
    """Ends the script after its last captured step; a BaseException, so that the script's own handlers let it pass."""


class Frame:
    """A layer call in progress."""

    __slots__ = ("call", "data", "id", "layer", "parent", "path", "training")

    def __init__(self, layer: Any, path: str, call: int, id: int, parent: Frame | None, training: bool) -> None:
        self.layer = layer
        self.path = path
        self.call = call
        self.id = id
        self.parent = parent
        self.training = training
        self.data: Any = None


class Session:
    """Follows a run. Adapters call the public methods; subclasses override the `_on` methods.

    Args:
        source: Which files are the script's own.
        steps: How many training steps to follow before the script is stopped.
        stop: Whether to stop the script then.
        inference: Whether a step is a call of the model that nothing is learned from; None to find out.

    Attributes:
        sampled: The steps that are followed closely; of the others only what enters the model, what is drawn, the loss
            and the optimizers' settings. None for all.
    """

    initials = False
    """Whether it is to be followed how parameters get their initial values."""

    meters = False
    """Whether metric objects are followed."""

    glimpsing = False
    """Whether ops before the first step are told: a model was called that is not differentiated there."""

    def __init__(self, source: Source, steps: int, stop: bool = True, inference: bool | None = False) -> None:
        self.source = source
        self.steps = steps
        self.stop = stop
        self.inference = inference
        self.sampled: frozenset[int] | None = None
        self.mistaken = False
        self.differentiated = False
        self.adapter: Adapter = None  # type: ignore[assignment]  # bound by the first optimizer or layer call
        self.step = 0
        self.backwards = 0
        self.optimizers: list[Any] = []
        self.receivers: list[Any] = []
        self.roots: list[Any] = []
        self.held: list[Held] = []
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}
        self.stack: list[Frame] = []
        self.busy = False
        self.finished = False
        self.in_backward = False
        self.model_called = False
        self.evaluating = False
        self.evaluated = False
        self.evaluates = False
        self._given: dict[int, Given] = {}
        self._called_optimizers: set[int] = set()
        self._expected: set[int] | None = None
        self._ids = itertools.count()
        self._tags = itertools.count(1)
        self._calls: Counter[int] = Counter()
        self._paths: dict[int, str] = {}
        self._keep: list[Any] = []
        self._kept: list[Any] = []
        self._ready = False
        self._first: int | None = None
        self._early: tuple[Any, Any, int] | None = None
        self._guessed = False
        self._times = 1.0
        self._names: dict[int, str] = {}
        self.companions = Companions(self)

    def note(self, text: str) -> None:
        """Says something about the run, once."""
        if text not in self.notes:
            self.notes.append(text)

    # What adapters tell ---------------------------------------------------------------------------------------

    def optimizer_made(self, adapter: Adapter, optimizer: Any) -> None:
        """An optimizer was constructed."""
        if self._guessed:
            self._wrong_guess()
        self.adapter = adapter
        if not any(known is optimizer for known in self.optimizers):
            self.optimizers.append(optimizer)

    def declared(self, kind: str, name: str, made: Made, value: Any = None) -> None:
        """The script made or called something besides layers: a schedule, a seed, a clipping of gradients."""

    def parameters_asked(self, layer: Any) -> None:
        """Somebody listed a layer's parameters: a hint at what the script means by its model."""
        if not self._ready and not any(known is layer for known in self.receivers):
            self.receivers.append(layer)

    def hears(self, adapter: Adapter) -> bool:
        """Whether calls of this framework's layers are followed: without an optimizer, those of the last one called."""
        if self.inference is not False and not self._ready and not self.optimizers:
            self.adapter = adapter
        return self.adapter is adapter

    def wants(self, layer: Any) -> bool:
        """Whether a call of this layer belongs to a step."""
        if self.finished or self.busy or self.in_backward:
            return False
        self.model_called = True
        if self.evaluating:
            return True
        if self.inference is not False and not self._ready and not (self.optimizers and self.inference is None):
            return self._begins_inference(layer)
        if self.inference:
            return True
        if self.light and self.stack and not any(layer is root for root in self.roots):
            return False
        return bool(self.optimizers) and (bool(self.stack) or self.adapter.recording(layer))

    def metered(
        self, metric: Any, made: Made, inputs: list[np.ndarray], values: dict[str, np.ndarray], library: bool
    ) -> None:
        """A metric object, made like that, was given `inputs` and answers `values`."""

    def aside(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]) -> Any:
        """A layer is called in a way that is not differentiated; `run` calls it, and its result is returned."""
        resting = self.busy or self.finished or self.in_backward or self.evaluating or self.light
        if resting or self.stack or self.companions.depth:
            self.companions.passed(layer)
            return run(*args, **kwargs)
        companion = self.companions.of(layer)
        if companion is None and not any(layer is root for root in self.roots):
            return run(*args, **kwargs)
        if companion is not None:
            args, kwargs = self._on_companion(companion, args, kwargs)
        self.companions.depth += 1
        try:
            if companion is None:
                output = run(*args, **kwargs)
            else:
                output = self.companions.within(companion, lambda: run(*args, **kwargs))
        finally:
            self.companions.depth -= 1
        self._on_aside(layer, companion, args, kwargs, output)
        return output

    def enter(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A layer is called; its arguments may come back changed."""
        if self.inference and not self.stack and self._calls[id(layer)] and any(layer is root for root in self.roots):
            self._end_step()
            self._stop_after_last()
        if not self._ready:
            self._find_model(layer)
        if self.evaluates and not self.evaluating and any(layer is root for root in self.roots):
            known = self._given.get(id(layer))
            if known is None or known.step != self.step:
                self._given[id(layer)] = Given(self.step, layer, args, kwargs)
        outside = not any(layer is root for root in self.roots) and not any(self._followed(f.layer) for f in self.stack)
        companion = self.companions.of(layer) if outside and not self.evaluating and not self.light else None
        if companion is not None:
            args, kwargs = self._on_companion(companion, args, kwargs)
        parent = self.stack[-1] if self.stack else None
        call = self._calls[id(layer)]
        self._calls[id(layer)] += 1
        frame = Frame(layer, self.path(layer), call, next(self._ids), parent, self.adapter.training(layer))
        self.stack.append(frame)
        return self._on_enter(frame, args, kwargs)

    def _followed(self, layer: Any) -> bool:
        """Whether a layer is the model, one of several, or a companion that was called before."""
        return any(layer is root for root in self.roots) or any(layer is c.layer for c in self.companions.found)

    def leave(self, layer: Any, output: Any) -> Any:
        """A layer returns; its output may come back changed."""
        frame = self.stack.pop()
        return self._on_leave(frame, output)

    def abandon(self) -> None:
        """A layer call ended by an exception."""
        if self.stack:
            self.stack.pop()

    @property
    def phase(self) -> str:
        """Of what happens now: `train`, or `eval` for the pass after the last step."""
        return "eval" if self.evaluating else "train"

    @property
    def following(self) -> bool:
        """Whether functional ops belong to a step now."""
        return self._ready and not (self.busy or self.finished or self.in_backward)

    @property
    def light(self) -> bool:
        """Whether the present step is one of those that are not followed closely."""
        return self.sampled is not None and self.step not in self.sampled

    @property
    def listening(self) -> bool:
        """Whether functional ops are wanted now."""
        return self.following and not self.light

    def op(
        self,
        name: str,
        inputs: list[Any],
        outputs: Any,
        *,
        view: bool,
        inplace: bool,
        reduction: int,
        first: int | None = None,
    ) -> Any:
        """A functional op ran; its output may come back changed. `first` is what it changed in place."""
        self._first = first
        return self._on_op(name, inputs, outputs, view, inplace, reduction)

    def arguments(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments of an op that is about to run; a forcing session changes them."""
        return args, kwargs

    def step_arguments(self, args: Any, kwargs: Any, drop: int = 0) -> tuple[Any, Any]:
        """What enters a training step (the last `drop` are no data); a synchronising session changes it."""
        return args, kwargs

    def batch(self, loader: Any, batch: Any, position: int) -> Any:
        """A data loader yielded a batch, the one at `position` in its epoch."""
        if self.finished or self.busy:
            return batch
        if self.inference is None and not self.optimizers:
            self._early = (loader, batch, position)
            return batch
        return self._on_batch(loader, batch, position)

    def loader_made(self, loader: Any) -> None:
        """The script made a data loader."""

    def glimpsed(self, inputs: Any, outputs: Any) -> None:
        """An op ran while `glimpsing`, with tensors among its arguments and results."""

    def random(self, kind: str, shape: tuple[int, ...], draw: Any) -> Any:
        """A random tensor of 0/1 (`mask`), `uniform`, `normal` or `integer` is needed; `draw()` makes one."""
        return draw() if self.finished or not self._ready else self._on_random(kind, tuple(shape), draw)

    def backward_begins(self, loss: Any, times: float = 1.0) -> None:
        """A backward pass starts from `times` the loss (None where it cannot be told)."""
        self.differentiated = True
        if self._guessed:
            self._wrong_guess()
        self.in_backward = True
        if times != 1.0:
            self.facts["loss_scale"] = True
        self._times = times
        if self._ready and not self.finished:
            self._on_backward(loss)

    def backward_ends(self, gradients: dict[int, Any] | None = None) -> None:
        """It ended; `gradients` by parameter id, where the framework hands them out instead of keeping them."""
        self.in_backward = False
        if self._ready and not self.finished:
            self._on_gradients(gradients)
            self.backwards += 1

    def optimizer_begins(self, optimizer: Any, gradients: list[Any]) -> list[Any]:
        """An optimizer is called with these gradients (one per parameter, None where absent)."""
        if not self._ready or self.finished or self.inference:
            return gradients
        if self._expected is None:
            self._expected = {id(o) for o in self.optimizers}
        if id(optimizer) in self._called_optimizers:
            self._expected = set(self._called_optimizers)
            self._end_step()
        return self._on_optimizer(optimizer, gradients)

    def optimizer_ends(self, optimizer: Any) -> None:
        """It has updated its parameters. The step ends when every optimizer in use was called."""
        if not self._ready or self.finished:
            return
        if self.inference:
            self.facts["updates"] = True
            self.steps = self.step + 1
            self._end_step()
            self._stop_after_last()
            return
        self._on_updated(optimizer)
        self._called_optimizers.add(id(optimizer))
        if self._expected is not None and self._called_optimizers >= self._expected:
            self._end_step()
            self._stop_after_last()

    def script_ended(self, well: bool) -> None:
        """The script came to its end: a call of the model that was under way as a step of inference is complete.

        Args:
            well: It was not ended by an error.
        """
        if self.inference and self._ready and not self.finished and not self.stack and self._calls:
            self._end_step()
            self.finished = True
        elif well and not self.finished and not self.stack and not self._calls:
            evaluate(self)

    def _stop_after_last(self) -> None:
        if self.step >= self.steps:
            evaluate(self)
            self.finished = True
            if self.stop:
                raise StopRun

    # Scripts that only call their model -----------------------------------------------------------------------

    def _begins_inference(self, layer: Any) -> bool:
        """Whether this call is the first step of inference: of a layer with parameters, in a script that only calls."""
        if not self.adapter.held(layer):
            return False
        if self.inference is None:
            self.inference = self._guessed = not self.source.trains()
            if self._guessed and self._early is not None:
                self._on_batch(*self._early)
            self._early = None
        if self.inference:
            self.adapter.push_mode()
        return bool(self.inference)

    def _wrong_guess(self) -> None:
        self.mistaken = self.finished = True
        raise StopRun

    def _end_step(self) -> None:
        self._on_step_end()
        self._called_optimizers.clear()
        self._calls.clear()
        self._keep.clear()
        self.adapter.forget_tags()
        self._name_parameters()
        self.backwards = 0
        light = self.light
        self.step += 1
        if light and not self.light and self.step < self.steps:
            self._on_resume()
        if not light:
            self._on_step_done()

    # The model and its names ----------------------------------------------------------------------------------

    def _find_model(self, called: Any) -> None:
        adapter = self.adapter
        self._ready = True
        wanted = {id(p) for o in self.optimizers for p in adapter.optimizer_parameters(o)}
        known = [*([] if self.inference else self.receivers), adapter.unwrap(called)]
        below = {id(layer): {id(h.tensor) for h in adapter.held(layer)} for layer in known}
        covering = [layer for layer in known if below[id(layer)] >= wanted]
        if covering:
            self.roots = [adapter.unwrap(self._smallest(covering))]
        else:
            for optimizer in self.optimizers:
                mine = {id(p) for p in adapter.optimizer_parameters(optimizer)}
                fitting = [layer for layer in known if below[id(layer)] >= mine]
                parts = [min(fitting, key=lambda x: len(below[id(x)]))] if fitting else [
                    layer for layer in known if below[id(layer)] and below[id(layer)] <= mine
                ]  # fmt: skip
                self.roots += [r for r in map(adapter.unwrap, parts) if not any(r is known for known in self.roots)]
            if not self.roots:
                self.roots = [adapter.unwrap(called)]
        prefixes = [""] if len(self.roots) == 1 else self._root_names()
        seen: set[int] = set()
        for prefix, root in zip(prefixes, self.roots, strict=True):
            for path, layer in adapter.named_layers(root):
                self._paths.setdefault(id(layer), ".".join(filter(None, (prefix, path))))
                self._keep_forever(layer)
            for held in adapter.held(root):
                if id(held.tensor) not in seen:
                    seen.add(id(held.tensor))
                    names = [".".join(filter(None, (prefix, name))) for name in held.names]
                    self.held.append(held._replace(names=names, owner=".".join(filter(None, (prefix, held.owner)))))
        for optimizer in self.optimizers:
            for index, parameter in enumerate(adapter.optimizer_parameters(optimizer)):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    name = self._variable(parameter, f"parameter{index}")
                    self.held.append(Held([name], parameter, "", name, True, False))
        self.companions.leave_out(seen)
        self._name_parameters()
        self._on_model()
        self._name_parameters()

    def _smallest(self, layers: list[Any]) -> Any:
        """Of several layers that hold all that is trained, the model."""
        return min(layers, key=lambda layer: len(self.adapter.held(layer)))

    def _root_names(self) -> list[str]:
        """What the script calls each of several models: the variable, or the attribute of one; no name twice."""
        names: list[str] = []
        for root in self.roots:
            name = self.source.called(root) or self.source.attribute(root) or type(root).__name__
            taken = sum(other.partition("#")[0] == name for other in names)
            names.append(f"{name}#{taken + 1}" if taken else name)
        return names

    def _keep_forever(self, layer: Any) -> None:
        """Layers are told apart by `id`, which must not be given to another object."""
        self._kept.append(layer)

    def _variable(self, value: Any, otherwise: str | None = None) -> str:
        return self.source.called(value) or otherwise or type(value).__name__

    def path(self, layer: Any) -> str:
        """The layer's dotted path in the model; what the script calls it where it stands outside; `""` for wrappers."""
        path = self._paths.get(id(layer))
        if path is None:
            self._keep_forever(layer)
            below = {id(child) for _, child in self.adapter.named_layers(layer)}
            if any(id(root) in below for root in self.roots):
                path = ""
                for name, child in self.adapter.named_layers(layer):
                    self._paths.setdefault(id(child), name)
            else:
                path = self._variable(layer)
                for name, child in self.adapter.named_layers(layer):
                    self._paths.setdefault(id(child), ".".join(filter(None, (path, name))))
            self._paths[id(layer)] = path
        return path

    def parameter_name(self, tensor: Any) -> str | None:
        """The name of a parameter of the model, None for any other tensor."""
        return self._names.get(self.adapter.key(tensor))

    def _name_parameters(self) -> None:
        self._names = self.companions.names() | {self.adapter.key(h.tensor): h.names[0] for h in self.held}

    def resting(self) -> dict[int, list[Held]]:
        """Weights of the model that no optimizer changes, by the id of the layer that owns them."""
        updated = {id(p) for o in self.optimizers for p in self.adapter.optimizer_parameters(o)}
        owners = {self.path(layer): layer for root in self.roots for _, layer in self.adapter.named_layers(root)}
        found: dict[int, list[Held]] = {}
        for held in self.held:
            rests = not held.buffer and (not held.trainable or id(held.tensor) not in updated)
            if rests and held.owner in owners:
                found.setdefault(id(owners[held.owner]), []).append(held)
        return found

    @property
    def here(self) -> str:
        """The path of the innermost active layer; `""` in the training loop."""
        return self.stack[-1].path if self.stack else ""

    # What subclasses do ---------------------------------------------------------------------------------------

    def _on_model(self) -> None: ...

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    def _on_leave(self, frame: Frame, output: Any) -> Any:
        return output

    def _on_companion(self, companion: Companion, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """A companion is about to be called, from outside of the model and of other companions."""
        return args, kwargs

    def _on_aside(self, layer: Any, companion: Companion | None, args: Any, kwargs: Any, output: Any) -> None:
        """A companion or a model was called without being differentiated."""

    def _on_op(self, name: str, inputs: list[Any], outputs: Any, view: bool, inplace: bool, reduction: int) -> Any:
        return outputs

    def _on_batch(self, loader: Any, batch: Any, position: int) -> Any:
        return batch

    def _on_random(self, kind: str, shape: tuple[int, ...], draw: Any) -> Any:
        return draw()

    def _on_backward(self, loss: Any) -> None: ...

    def _on_gradients(self, gradients: dict[int, Any] | None) -> None: ...

    def _on_optimizer(self, optimizer: Any, gradients: list[Any]) -> list[Any]:
        return gradients

    def _on_updated(self, optimizer: Any) -> None: ...

    def _on_resume(self) -> None:
        """A step begins that is followed closely, after others that were not."""

    def _on_step_end(self) -> None: ...

    def _on_step_done(self) -> None: ...
