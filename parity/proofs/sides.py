"""The two frameworks behind one face: tensors, calls, gradients, weights. Imported by the worker alone."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.proofs.values import Array

Result = tuple[list[np.ndarray], list[np.ndarray], dict[str, np.ndarray]]
"""Outputs, gradients of the inputs that are floating point, gradients of the weights by name."""


class Torch:
    """The reference's side."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.names = {
            "torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np, "numpy": np,
        }  # fmt: skip

    def seed(self, seed: int) -> None:
        self.torch.manual_seed(seed)

    def tensor(self, array: Array) -> Any:
        tensor = self.torch.from_numpy(np.array(array.values))
        return tensor.bfloat16() if array.dtype == "bf16" else tensor

    def arrays(self, value: Any) -> list[np.ndarray]:
        """The arrays in a result, nested in whatever way."""
        if isinstance(value, self.torch.Tensor):
            value = value.detach()
            if value.dtype == self.torch.bfloat16:
                value = value.float()
            return [value.resolve_conj().resolve_neg().numpy() if not value.is_sparse else value.to_dense().numpy()]
        return _nested(value, self.arrays)

    def weights(self, layer: Any) -> dict[str, np.ndarray]:
        """Parameters and buffers by name."""
        if not isinstance(layer, self.torch.nn.Module):
            return {}
        return {name: value.detach().numpy().copy() for name, value in layer.state_dict().items()}

    def mode(self, layer: Any, train: bool) -> None:
        if isinstance(layer, self.torch.nn.Module):
            layer.train(train)

    def run(
        self, call: Callable[..., Any], inputs: list[Any], floating: list[bool], layer: Any, weigh: Any, grad: bool
    ) -> Result:
        """Calls, and differentiates the outputs' weighted sum.

        Args:
            call: Takes the inputs.
            inputs: Tensors.
            floating: Which of them get a gradient.
            layer: The owner of the weights, or None.
            weigh: Gives the weights of the sum from an output's index and shape.
            grad: Whether to differentiate.
        """
        tensors = [t.requires_grad_() if f and grad else t for t, f in zip(inputs, floating, strict=True)]
        parameters: dict[str, Any] = (
            dict(layer.named_parameters()) if isinstance(layer, self.torch.nn.Module) and grad else {}
        )
        # A copy: an operation in place is refused on a leaf that needs a gradient.
        output = call(*[t.clone() if f and grad else t for t, f in zip(tensors, floating, strict=True)])
        outputs = self.arrays(output)
        if not grad:
            return outputs, [], {}
        total: Any = 0
        for index, each in enumerate(_leaves(output, self.torch.Tensor)):
            if each.is_floating_point() and each.requires_grad:
                total = total + (each * self.torch.from_numpy(weigh(index, tuple(each.shape))).to(each.dtype)).sum()
        if isinstance(total, self.torch.Tensor):
            total.backward()
        return (
            outputs,
            [_or_zero(t.grad, t) for t, f in zip(tensors, floating, strict=True) if f],
            {n: _or_zero(p.grad, p) for n, p in parameters.items() if p.requires_grad},
        )

    def optimizer_steps(
        self, cls: Any, arguments: dict[str, Any], start: dict[str, np.ndarray], gradients: Sequence[Any]
    ) -> list[np.ndarray]:
        """The weights after each update, in the order of `start`, step by step."""
        parameters = {name: self.torch.nn.Parameter(self.torch.from_numpy(v.copy())) for name, v in start.items()}
        optimizer = cls(list(parameters.values()), **arguments)
        seen = []
        for gradient in gradients:
            for name, parameter in parameters.items():
                parameter.grad = self.torch.from_numpy(gradient[name].copy())
            optimizer.step()
            seen += [p.detach().numpy().copy() for p in parameters.values()]
        return seen


class MindSpore:
    """The candidate's side."""

    def __init__(self) -> None:
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # its convolutions on AVX-512 are a hundred times slower
        import mindspore

        mindspore.set_context(mode=mindspore.PYNATIVE_MODE, pynative_synchronize=True)
        self.ms = mindspore
        self.names = {
            "mindspore": mindspore, "ms": mindspore, "nn": mindspore.nn, "ops": mindspore.ops,
            "mint": mindspore.mint, "F": mindspore.mint.nn.functional, "np": np, "numpy": np,
        }  # fmt: skip

    def seed(self, seed: int) -> None:
        self.ms.set_seed(seed)

    def tensor(self, array: Array) -> Any:
        tensor = self.ms.Tensor(np.array(array.values))
        return tensor.astype(self.ms.bfloat16) if array.dtype == "bf16" else tensor

    def arrays(self, value: Any) -> list[np.ndarray]:
        """The arrays in a result, nested in whatever way."""
        if isinstance(value, self.ms.Tensor):
            value = value.astype(self.ms.float32) if value.dtype == self.ms.bfloat16 else value
            return [np.array(value.asnumpy())]
        return _nested(value, self.arrays)

    def weights(self, layer: Any) -> dict[str, np.ndarray]:
        """Parameters by the path of their attributes."""
        return {name: np.array(p.asnumpy()) for name, p in self._parameters(layer).items()}

    def _parameters(self, layer: Any) -> dict[str, Any]:
        if not isinstance(layer, self.ms.nn.Cell):
            return {}
        found: dict[str, Any] = {}
        for path, cell in layer.cells_and_names():
            for name, parameter in cell._params.items():
                if parameter is not None:
                    if parameter.has_init:
                        parameter.init_data()
                    found[f"{path}.{name}".lstrip(".")] = parameter
        if not found:
            found = {p.name: p for p in layer.get_parameters()}
        return found

    def load(self, layer: Any, weights: dict[str, np.ndarray]) -> None:
        """Sets weights by name.

        Raises:
            KeyError: The layer has no such weight.
            ValueError: It has another shape.
        """
        parameters = self._parameters(layer)
        for name, values in weights.items():
            parameter = parameters[name]
            if tuple(parameter.shape) != values.shape:
                raise ValueError(f"{name} has the shape {tuple(parameter.shape)}, given {values.shape}")
            parameter.set_data(self.ms.Tensor(values.astype(parameter.asnumpy().dtype)))

    def mode(self, layer: Any, train: bool) -> None:
        if isinstance(layer, self.ms.nn.Cell):
            layer.set_train(train)

    def run(
        self, call: Callable[..., Any], inputs: list[Any], floating: list[bool], layer: Any, weigh: Any, grad: bool
    ) -> Result:
        """As `Torch.run`."""
        places = tuple(i for i, f in enumerate(floating) if f)
        named = {n: p for n, p in self._parameters(layer).items() if p.requires_grad}
        if not grad or not (places or named):
            return self.arrays(call(*inputs)), [], {}
        kept: list[Any] = []

        def total(*tensors: Any) -> Any:
            output = call(*tensors)
            kept.append(self.arrays(_stopped(output, self.ms)))
            parts: Any = self.ms.Tensor(0.0, self.ms.float32)
            for index, each in enumerate(_leaves(output, self.ms.Tensor)):
                if each.dtype in (self.ms.float16, self.ms.float32, self.ms.float64, self.ms.bfloat16):
                    weights = self.ms.Tensor(weigh(index, tuple(each.shape))).astype(each.dtype)
                    parts = parts + (each * weights).sum().astype(self.ms.float32)
            return parts

        function = self.ms.value_and_grad(total, places or None, list(named.values()) or None)
        _, gradients = function(*inputs)
        of_inputs, of_weights = gradients if places and named else (gradients, ()) if places else ((), gradients)
        of_inputs = (of_inputs,) if isinstance(of_inputs, self.ms.Tensor) else of_inputs
        of_weights = (of_weights,) if isinstance(of_weights, self.ms.Tensor) else of_weights
        return (
            kept[0],
            [a for g in of_inputs for a in self.arrays(g)],
            {n: self.arrays(g)[0] for n, g in zip(named, of_weights, strict=True)},
        )

    def optimizer_steps(
        self, cls: Any, arguments: dict[str, Any], start: dict[str, np.ndarray], gradients: Sequence[Any]
    ) -> list[np.ndarray]:
        """As `Torch.optimizer_steps`."""
        parameters = {name: self.ms.Parameter(self.ms.Tensor(v.copy()), name=name) for name, v in start.items()}
        optimizer = cls(list(parameters.values()), **arguments)
        seen = []
        for gradient in gradients:
            optimizer(tuple(self.ms.Tensor(gradient[name].copy()) for name in parameters))
            seen += [np.array(p.asnumpy()) for p in parameters.values()]
        return seen


def _stopped(value: Any, ms: Any) -> Any:
    if isinstance(value, ms.Tensor):
        return ms.ops.stop_gradient(value)
    if isinstance(value, (list, tuple)):
        return [_stopped(each, ms) for each in value]
    return value


def _or_zero(gradient: Any, tensor: Any) -> np.ndarray:
    if gradient is None:
        return np.zeros(tuple(tensor.shape), np.float32)
    array = gradient.float() if str(gradient.dtype) == "torch.bfloat16" else gradient
    return np.array(array.detach().numpy())


def _leaves(value: Any, kind: type) -> list[Any]:
    if isinstance(value, kind):
        return [value]
    if isinstance(value, (list, tuple)):
        return [leaf for each in value for leaf in _leaves(each, kind)]
    return []


def _nested(value: Any, arrays: Callable[[Any], list[np.ndarray]]) -> list[np.ndarray]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [each for key in sorted(value) for each in arrays(value[key])]
    if isinstance(value, (list, tuple)) and not all(isinstance(each, (bool, int, float)) for each in value):
        return [each for item in value for each in arrays(item)]
    return [np.asarray(copy.copy(value))]
