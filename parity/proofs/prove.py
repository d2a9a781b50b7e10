"""Builds both sides of an entry, runs them on the same inputs, and says what differs from what the entry claims."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.entries import ABSENT, Entry, Proof
from parity.proofs import initial
from parity.proofs.sides import MindSpore, Result, Torch
from parity.proofs.signatures import resolve
from parity.proofs.values import Array, described
from parity.transforms import Unknown, convert


class Fails(Exception):
    """One side cannot be built or run; `side` says which."""

    def __init__(self, side: str, error: BaseException) -> None:
        lines = [line.strip("- ") for line in str(error).splitlines()]
        text = next(filter(None, lines), "")[:200]
        super().__init__(f"{side} raises {type(error).__name__}: {text}")
        self.side = side


class Sides:
    """Both frameworks, and the proofs that need them."""

    def __init__(self) -> None:
        self.torch = Torch()
        self.mindspore = MindSpore()
        self.raised = False
        """Whether the candidate has raised in this process: some of its kernels fail from then on."""

    def problems(self, entry: Entry, proof: Proof) -> list[str]:
        """What one proof says against the entry; nothing where it holds."""
        missing = entry.cpu if proof.candidate_code is None else None
        if proof.expect == "crashes" or missing == "crashes":
            return []
        try:
            found = self._compared(entry, proof)
        except Fails as failure:
            self.raised |= failure.side == "candidate"
            expected = proof.expect == "raises" or (missing is not None and proof.expect == "equal")
            if failure.side == "candidate" and expected:
                return []
            return [str(failure)]
        if proof.expect == "raises":
            return ["the candidate was expected to raise and runs"]
        if missing is not None and proof.expect == "equal":
            return [f"marked cpu = {missing!r}, but it runs" + (f"; {found[0]}" if found else " and agrees")]
        if proof.expect == "differs":
            return [] if found else ["expected to differ, and is equal"]
        return found

    def _compared(self, entry: Entry, proof: Proof) -> list[str]:
        if proof.reference_code is not None and proof.candidate_code is not None:
            return self._code(proof, proof.reference_code, proof.candidate_code)
        if entry.kind == "optimizer":
            return self._optimizer(entry, proof)
        if entry.reference.rpartition(".")[0] != "torch.Tensor" and inspect.isclass(resolve(entry.reference)):
            return self._layer(entry, proof)
        return self._function(entry, proof)

    # -------------------------------------------------------------------------------------------------- both sides

    def _arguments(self, entry: Entry, proof: Proof) -> tuple[dict[str, Any], dict[str, Any]]:
        """The reference's arguments with tensors drawn, and the candidate's made from them by the entry's rows."""
        generator = np.random.default_rng(7)
        reference = {name: described(value, generator) for name, value in proof.arguments.items()}
        candidate: dict[str, Any] = {}
        for row in entry.parameters:
            if row.reference is None or row.candidate is None or row.transform == "none":
                continue
            if row.reference in reference:
                value = reference[row.reference]
            elif row.differs and row.reference_default is not ABSENT and proof.expect == "equal":
                value = row.reference_default
            else:
                continue
            if row.transform == "stride" and value is None:
                value = reference["kernel_size"]
            plain = isinstance(value, (Array, dict)) or _holds_arrays(value)
            candidate[row.candidate] = value if plain else convert(row.transform, value)
        candidate |= {name: described(value, generator) for name, value in proof.extra.items()}
        return reference, candidate

    def _made(self, side: Torch | MindSpore, value: Any) -> Any:
        if isinstance(value, Array):
            return side.tensor(value)
        if isinstance(value, list):
            made = [self._made(side, each) for each in value]
            return made if _holds_arrays(value) else tuple(made)
        if isinstance(value, dict) and set(value) == {"py"}:
            text = value["py"]
            if isinstance(side, MindSpore):
                text = text.replace("torch.", "mindspore.")
            return eval(text, dict(side.names))
        return value

    def _build(self, side: Torch | MindSpore, name: str, arguments: dict[str, Any], what: str) -> Any:
        try:
            return resolve(name)(**{key: self._made(side, value) for key, value in arguments.items()})
        except Exception as error:
            raise Fails(what, error) from error

    # -------------------------------------------------------------------------------------------------- layers

    def _layer(self, entry: Entry, proof: Proof) -> list[str]:
        assert entry.candidate is not None
        arguments, converted = self._arguments(entry, proof)
        self.torch.seed(1)
        reference = self._build(self.torch, entry.reference, arguments, "reference")
        candidate = self._build(self.mindspore, entry.candidate, converted, "candidate")
        randomized = self._randomized(reference)
        names, found = self._copied(entry, randomized, candidate)
        if found:
            return found
        for side, layer in ((self.torch, reference), (self.mindspore, candidate)):
            side.mode(layer, proof.train)
        one, other = self._run_both(proof, reference, candidate, reference, candidate)
        found = _unequal(one[0], other[0], proof.tolerance, "output")
        found += _unequal(one[1], other[1], 10 * proof.tolerance, "input gradient")
        for name, gradient in one[2].items():
            target, layout = names.get(name, (None, "same"))
            if target is not None and target in other[2]:
                wanted = _laid_out(gradient, layout, other[2][target].shape)
                found += _unequal([wanted], [other[2][target]], 10 * proof.tolerance, f"gradient of {name}")
        if proof.train and not found:
            found += self._buffers(reference, candidate, names, proof)
        return found

    def _randomized(self, layer: Any) -> dict[str, np.ndarray]:
        """Gives the reference's constant weights other values: a missing scale would not show in ones."""
        generator = np.random.default_rng(3)
        import torch

        if not isinstance(layer, torch.nn.Module):
            return {}
        with torch.no_grad():
            for parameter in layer.parameters():
                if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
                    noise = torch.from_numpy(generator.uniform(-0.2, 0.2, tuple(parameter.shape)))
                    parameter.add_(noise.to(parameter.dtype))
        return self.torch.weights(layer)

    def _copied(
        self, entry: Entry, weights: dict[str, np.ndarray], candidate: Any
    ) -> tuple[dict[str, tuple[str | None, str]], list[str]]:
        """Loads the reference's weights into the candidate by the entry's weight lines."""
        names: dict[str, tuple[str | None, str]] = {}
        found = []
        shapes = {name: value.shape for name, value in self.mindspore.weights(candidate).items()}
        for name in weights:
            for row in entry.weights:
                if fnmatch.fnmatchcase(name, row.reference):
                    names[name] = (_substituted(row.reference, row.candidate, name), row.transform)
                    break
            else:
                found.append(f"the reference's weight {name} is in no weight line")
        loaded = {}
        for name, (target, layout) in names.items():
            if target is not None and target in shapes:
                loaded[target] = _laid_out(weights[name], layout, shapes[target])
            elif target is not None:
                found.append(f"the candidate has no weight {target}, only {', '.join(shapes)}")
        lines = [row.candidate for row in entry.weights if row.candidate is not None]
        for name in shapes:
            if entry.weights and not any(fnmatch.fnmatchcase(name, line) for line in lines):
                found.append(f"the candidate's weight {name} is in no weight line")
        if not found:
            try:
                self.mindspore.load(candidate, loaded)
            except (KeyError, ValueError) as error:
                found.append(f"weights do not fit: {error}")
        return names, found

    def _buffers(self, reference: Any, candidate: Any, names: dict[str, Any], proof: Proof) -> list[str]:
        """Running statistics after a call in training mode."""
        after, own = self.torch.weights(reference), self.mindspore.weights(candidate)
        found = []
        for name, (target, layout) in names.items():
            if target in own and not name.endswith(("weight", "bias")):
                wanted = _laid_out(after[name], layout, own[target].shape)
                found += _unequal([wanted], [own[target]], proof.tolerance, f"{name} after the call")
        return found

    def _run_both(self, proof: Proof, one: Any, other: Any, reference: Any, candidate: Any) -> tuple[Result, Result]:
        generator = np.random.default_rng(11)
        inputs = [described(each, generator) for each in proof.inputs]
        others = inputs if proof.candidate_inputs is None else [described(e, generator) for e in proof.candidate_inputs]
        return (
            self._run(self.torch, one, inputs, reference, proof, "reference"),
            self._run(self.mindspore, other, others, candidate, proof, "candidate"),
        )

    def _run(self, side: Any, call: Any, inputs: list[Any], layer: Any, proof: Proof, what: str) -> Result:
        slots = _flat(inputs)
        floating = [each.floating for each in slots]

        def whole(*tensors: Any) -> Any:
            left = list(tensors)
            return call(*[_filled(each, left, self._made, side) for each in inputs])

        try:
            tensors = [side.tensor(each) for each in slots]
            result: Result = side.run(whole, tensors, floating, layer, _weigh, proof.grad)
            return result
        except Exception as error:
            raise Fails(what, error) from error

    # -------------------------------------------------------------------------------------------------- functions

    def _function(self, entry: Entry, proof: Proof) -> list[str]:
        assert entry.candidate is not None
        arguments, converted = self._arguments(entry, proof)
        results = []
        for side, name, values, what in (
            (self.torch, entry.reference, arguments, "reference"),
            (self.mindspore, entry.candidate, converted, "candidate"),
        ):
            names = [key for key, value in values.items() if isinstance(value, Array) or _holds_arrays(value)]
            fixed = {key: self._made(side, v) for key, v in values.items() if key not in names}
            results.append(self._run(side, _call(name, names, fixed), [values[n] for n in names], None, proof, what))
        one, other = results
        found = _unequal(one[0], other[0], proof.tolerance, "output")
        return found + _unequal(one[1], other[1], 10 * proof.tolerance, "input gradient")

    # -------------------------------------------------------------------------------------------------- the rest

    def _optimizer(self, entry: Entry, proof: Proof) -> list[str]:
        assert entry.candidate is not None
        arguments, converted = self._arguments(entry, proof)
        generator = np.random.default_rng(5)
        shapes = {"weight": (3, 4), "bias": (4,)}
        start = {n: generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
        gradients = [
            {n: generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()} for _ in range(proof.steps)
        ]
        results = []
        for side, name, values, what in (
            (self.torch, entry.reference, arguments, "reference"),
            (self.mindspore, entry.candidate, converted, "candidate"),
        ):
            made = {key: self._made(side, value) for key, value in values.items()}
            try:
                results.append(side.optimizer_steps(resolve(name), made, start, gradients))
            except Exception as error:
                raise Fails(what, error) from error
        return _unequal(results[0], results[1], proof.tolerance, "weights after updates")

    def _code(self, proof: Proof, reference: str, candidate: str) -> list[str]:
        results = []
        for side, code, what in ((self.torch, reference, "reference"), (self.mindspore, candidate, "candidate")):
            generator = np.random.default_rng(11)
            inputs = [described(each, generator) for each in proof.inputs]
            names = {**side.names, **{f"x{i}": self._made(side, each) for i, each in enumerate(inputs)}}
            try:
                side.seed(1)
                exec(code, names)
                results.append(side.arrays(names["result"]))
            except Exception as error:
                raise Fails(what, error) from error
        return _unequal(results[0], results[1], proof.tolerance, "result")

    def initializers(self, entry: Entry) -> Iterator[str]:
        """What measurement says against the claimed initial distributions."""
        proof = next((p for p in entry.proof if p.reference_code is None), None)
        if proof is None or not entry.initializers or entry.candidate is None:
            return
        arguments, converted = self._arguments(entry, proof)
        self.torch.seed(1)
        self.mindspore.seed(1)
        for side, name, values, what in (
            (self.torch, entry.reference, arguments, "reference"),
            (self.mindspore, entry.candidate, converted, "candidate"),
        ):
            layer = self._build(side, name, values, what)
            shapes = {n: w.shape for n, w in side.weights(layer).items()}
            drawn = initial.measured(lambda s=side, n=name, v=values, w=what: s.weights(self._build(s, n, v, w)))  # type: ignore[misc]
            for row in entry.initializers:
                pattern, spec = getattr(row, f"{what}_weight"), getattr(row, what)
                matching = [n for n in drawn if fnmatch.fnmatchcase(n, pattern)]
                for weight in matching:
                    main = shapes.get(weight.rpartition(".")[0] + ".weight" if "." in weight else "weight")
                    fan_shape = shapes[weight] if len(shapes[weight]) > 1 else main or shapes[weight]
                    numbers = {k: float(v) for k, v in arguments.items() if isinstance(v, (int, float))}
                    claim = initial.claim(spec, shapes[weight], initial.fans(fan_shape), numbers)
                    for text in initial.disagreements(drawn[weight], claim):
                        yield f"{name}: {weight} starts with {text}; the entry says {spec}"
            claimed = [getattr(row, f"{what}_weight") for row in entry.initializers]
            for weight in drawn:
                if not any(fnmatch.fnmatchcase(weight, pattern) for pattern in claimed) and shapes[weight]:
                    yield f"{name}: no initializer line for {weight}"


def _holds_arrays(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, Array) or _holds_arrays(each) for each in value)


def _flat(value: Any) -> list[Array]:
    if isinstance(value, Array):
        return [value]
    return [leaf for each in value for leaf in _flat(each)] if isinstance(value, list) else []


def _filled(value: Any, tensors: list[Any], made: Any, side: Any) -> Any:
    """The nest of a call's inputs with tensors in the place of arrays, taken from the front of a list."""
    if isinstance(value, Array):
        return tensors.pop(0)
    if _holds_arrays(value):
        return tuple(_filled(each, tensors, made, side) for each in value)
    return made(side, value)


def _call(name: str, tensors: list[str], fixed: dict[str, Any]) -> Any:
    """A function of the tensors alone, in the order of their names; of a method the first is the object."""
    package, _, last = name.rpartition(".")
    if package.endswith(".Tensor"):
        return lambda first, *rest: (
            getattr(first, last)(**dict(zip(tensors[1:], rest, strict=True)), **fixed)
            if callable(getattr(first, last))
            else getattr(first, last)
        )
    function = resolve(name)
    positional = fixed.pop("*", None)
    if positional is not None:
        return lambda *given: function(*given, *positional, **fixed)
    return lambda *given: function(**dict(zip(tensors, given, strict=True)), **fixed)


def _weigh(index: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(100 + index).uniform(0.5, 1.5, shape).astype(np.float32)


def _substituted(pattern: str, target: str | None, name: str) -> str | None:
    """`weight_hh_l0` for the name, by `weight_hh_l* -> weight_hh_l*`."""
    if target is None or "*" not in pattern:
        return target
    head, _, tail = pattern.partition("*")
    middle = name[len(head) : len(name) - len(tail)] if tail else name[len(head) :]
    return target.replace("*", middle, 1)


def _laid_out(values: np.ndarray, layout: str, shape: tuple[int, ...]) -> np.ndarray:
    if layout == "transpose":
        return np.ascontiguousarray(values.T)
    if layout == "unsqueeze2":
        return np.expand_dims(values, 2)
    if layout == "flatten":
        return values.ravel()
    if layout == "reshape":
        return values.reshape(shape)
    return values


def _unequal(one: list[np.ndarray], other: list[np.ndarray], tolerance: float, what: str) -> list[str]:
    """What distinguishes two lists of arrays, at most one line: count, shape, position of NaN, RMS distance."""
    if len(one) != len(other):
        return [f"{what}: {len(one)} arrays against {len(other)}"]
    for index, (a, b) in enumerate(zip(one, other, strict=True)):
        where = what if len(one) == 1 else f"{what} {index}"
        if a.shape != b.shape:
            return [f"{where}: shape {a.shape} against {b.shape}"]
        if a.dtype.kind in "OUS" or b.dtype.kind in "OUS":
            if not (a == b).all():
                return [f"{where}: {a!r} against {b!r}"]
            continue
        kind = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
        a, b = a.astype(kind), b.astype(kind)
        if not (np.isfinite(a) == np.isfinite(b)).all() or not (np.isnan(a) == np.isnan(b)).all():
            return [f"{where}: NaN or infinity at other places"]
        finite = np.isfinite(a)
        a, b = a[finite], b[finite]
        scale = float(np.sqrt((np.abs(a) ** 2).mean())) if a.size else 0.0
        distance = float(np.sqrt((np.abs(a - b) ** 2).mean())) if a.size else 0.0
        if distance > tolerance * scale + 1e-12:
            relative = distance / scale if scale else distance
            return [f"{where}: relative distance {relative:.3g}, allowed {tolerance:g}"]
    return []


__all__ = ["ABSENT", "Fails", "Sides", "Unknown"]
