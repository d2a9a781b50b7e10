"""Forcing the forward pass: at layers' inputs and outputs, at linear ops, and wherever a value agrees."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from parity.align.candidate import Value, unit_of
from parity.align.values import Sketch, distance, lay, layout, rms
from parity.capture.frameworks.base import replace_tensors, tensors_in
from parity.capture.measure import LINEAR, TRANSCENDENTAL, Measuring
from parity.capture.session import Frame
from parity.capture.store import Key
from parity.measured import ForcedOp
from parity.model import CallEvent
from parity.tolerance import EXP, FACTOR, TANH

_MULTIPLIES = frozenset(["mul", "rmul", "multiply", "div", "truediv", "true_divide", "divide"])
"""Ops that multiply what they take, by a number as a rule."""

_PICKS = frozenset(["max", "min", "sort", "topk", "median", "mode", "kthvalue", "cummax", "cummin"])
"""Ops that give values and their indices."""

_BACKWARD = {
    "cross_entropy_loss": EXP, "binary_cross_entropy_with_logits": 1.25 * 2.0**-24,
    "binary_cross_entropy": 1.25 * 2.0**-24,
}  # fmt: skip
"""What the gradients of MindSpore 2.10's losses may be off by, an eighth of it: those of a log-softmax and a negative
log-likelihood in two kernels by up to 53 units, those of its cross-entropy by 14, of its binary ones by 11 (RMS,
measured against float64 with 2 to 60 classes)."""


class LayerForcing(Measuring):
    """Forces values and the gradients that come back to them."""

    def _on_enter(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if any(frame.layer is root for root in self.roots):
            if self._before_idle is None and (self.step, self._roots_seen) in self._idle:
                self._before_idle = Counter(self._calls)
                self._before_idle[id(frame.layer)] -= 1
                frame.data = self._before_idle
            self._roots_seen += 1
        if self._before_idle is not None:
            return args, kwargs
        self.busy = True
        if self._is_model(frame):
            args, kwargs = self._enter_root(frame, args, kwargs)
        elif frame.path in self.candidate.targets and self.candidate.same_function(frame.path):
            tensors = [name for name, _ in tensors_in(list(args), self.adapter.is_tensor)]

            def force(name: str, tensor: Any) -> Any:
                value = self.candidate.input(self.step, frame.path, frame.call, name, tensors.index(name))
                return tensor if value is None else self._force_input(frame, name, tensor, value)

            args = replace_tensors(tuple(args), force, self.adapter.is_tensor)
        self.busy = False
        return args, kwargs

    def _is_model(self, frame: Frame) -> bool:
        """Whether a call is one of the model: of several, those that are single layers count as layers."""
        return any(frame.layer is root for root in self.roots) and not (
            len(self.roots) > 1 and frame.path in self.candidate.targets
        )

    def _enter_root(self, frame: Frame, args: Any, kwargs: Any) -> tuple[Any, Any]:
        calls = self.candidate.root_calls.get((self.step, frame.path), [])
        if frame.call >= len(calls):
            return args, kwargs
        left = list(calls[frame.call].inputs)

        def force(name: str, tensor: Any) -> Any:
            mine = self._read(tensor)
            item = next((i for i in left if i.name == name and i.ref.size == mine.size), None)
            item = item or next((i for i in left if tuple(i.ref.shape) == mine.shape), None)
            if item is None:
                return tensor
            left.remove(item)
            theirs = self.candidate.array(item.ref)
            how = layout(theirs, mine)
            theirs = theirs.reshape(mine.shape) if how is None else lay(theirs, how)
            if mine.dtype.kind != "f":
                return tensor if np.array_equal(mine, theirs) else self.adapter.make(theirs, tensor)
            if tensor.requires_grad:  # another model made it
                call = calls[frame.call]
                value = Value(self.candidate.array(item.ref), None, call.path, call.id, self.candidate.unit(call, item))
                return self._force_input(frame, name, tensor, value)
            return self._put(tensor, theirs, 2.0**-24)

        return replace_tensors(tuple(args), force, self.adapter.is_tensor), replace_tensors(
            kwargs, force, self.adapter.is_tensor
        )

    def _force_input(self, frame: Frame, name: str, tensor: Any, value: Value) -> Any:
        key: Key = (self.step, "input", frame.path, frame.call, name)
        mine = self._read(tensor)
        how = self._layout(key, value.array, mine)
        if how is None:
            return tensor
        theirs = lay(value.array, how)
        tag = self._tag(tensor)
        if mine.dtype.kind != "f" or theirs.dtype.kind != "f":
            if mine.dtype.kind == "f" or theirs.dtype.kind == "f":
                return tensor
            self.measure(key, "forward", mine, theirs, candidate=value.path, event=value.event, tag=tag)
            new = self.adapter.make(theirs, tensor)
            self._retag(new)
            return new
        record = self.measure(
            key, "forward", mine, theirs, candidate=value.path, event=value.event, unit=value.unit, tag=tag
        )
        new = self._put(tensor, theirs, value.unit)
        if record is not None and self.kind == "float64":
            record.forced = self._tag(new)
        return new

    def _on_leave(self, frame: Frame, output: Any) -> Any:
        if self._before_idle is not None:
            if frame.data is self._before_idle:
                self._calls, self._before_idle = self._before_idle, None
            return output
        self.busy = True
        names = [name for name, _ in tensors_in(output, self.adapter.is_tensor)]
        if self._is_model(frame):
            calls = self.candidate.root_calls.get((self.step, frame.path), [])
            if frame.call < len(calls):
                self.paired[frame.path] = calls[frame.call].path

                def force_root(name: str, tensor: Any) -> Any:
                    value = self.candidate.item_of(calls[frame.call], name, names.index(name))
                    return tensor if value is None else self._force_output(frame, name, tensor, value, "root")

                output = replace_tensors(output, force_root, self.adapter.is_tensor)
        elif frame.path in self.candidate.targets and self.candidate.same_function(frame.path):

            def force(name: str, tensor: Any) -> Any:
                value = self.candidate.output(self.step, frame.path, frame.call, name, names.index(name))
                if value is None:
                    return tensor
                self.paired[frame.path] = value.path
                return self._force_output(frame, name, tensor, value, "output")

            output = replace_tensors(output, force, self.adapter.is_tensor)
        elif self.adapter.is_tensor(output) and output.is_floating_point():
            output = self._force_alike(frame, output)
        self.busy = False
        return output

    def _force_alike(self, frame: Frame, tensor: Any) -> Any:
        """A boundary at a container or a parameterless layer, where the candidate's counterpart has the same value."""
        key: Key = (self.step, "output", frame.path, frame.call, "")
        call = self._alike(frame, tensor) if self.kind == "float64" else self.store.alike.get(key)
        if call is None:
            return tensor
        self.store.alike[key] = call
        value = self.candidate.item_of(call, "", 0)
        if value is None:
            return tensor
        self.paired[frame.path] = value.path
        return self._force_output(frame, "", tensor, value, "output")

    def _alike(self, frame: Frame, tensor: Any) -> CallEvent | None:
        mine = self._read(tensor)
        for path in self.candidate.containers.get(frame.path, ()):
            calls = self.candidate.calls.get((self.step, path), [])
            if frame.call < len(calls) and len(calls[frame.call].outputs) == 1:
                theirs = self.candidate.array(calls[frame.call].outputs[0].ref)
                how = layout(theirs, mine)
                if how is not None and distance(lay(theirs, how), mine) <= 8 * self.candidate.unit(calls[frame.call]):
                    return calls[frame.call]
        if not self.adapter.is_framework_layer(frame.layer) or tensor.numel() < 2:
            return None
        index, entries = self._candidates()
        for gap, entry, moved in index.nearest(Sketch(mine))[:2]:
            ref = entries[entry][0]
            call = self.candidate.same_call(self.step, ref.digest, type(frame.layer).__name__, self._used)
            if call is None or moved or gap > 1e-6:
                continue
            if distance(self.candidate.array(ref).reshape(mine.shape), mine) <= 8 * self.candidate.unit(call):
                self._used.add(call.id)
                return call
        return None

    def _force_output(self, frame: Frame, name: str, tensor: Any, value: Value, kind: str) -> Any:
        from parity.capture.frameworks.torch_force import flat_values

        key: Key = (self.step, kind, frame.path, frame.call, name)
        mine = self._read(tensor)
        if mine.dtype.kind != "f" or key in self.store.inner:
            return tensor
        how = self._layout(key, value.array, mine)
        tag = self._tag(tensor)
        if how is None:
            loss = kind == "root" and value.array.size == 1  # the candidate's model computes its loss, too
            if self.kind == "float64" and not loss and not self._inside(value, mine):
                self.measure(
                    key, "forward", mine, value.array, candidate=value.path, event=value.event, unit=value.unit, tag=tag
                )
            else:
                self.store.inner.add(key)
            return tensor
        theirs = lay(value.array, how)
        if self.kind == "float64" and kind == "output" and distance(theirs, mine) > 1e-5 and self._inside(value, mine):
            self.store.inner.add(key)
            return tensor
        record = self.measure(
            key, "forward", mine, theirs, candidate=value.path, event=value.event, unit=value.unit, tag=tag
        )

        flat = flat_values(tensor)
        unused = np.isin(theirs, flat) if flat else None

        def arrived(gradient: Any) -> Any:
            return self._force_gradient(frame, name, gradient, value, how, tag, unused)

        whole = tensor.requires_grad and tag not in self._consumed
        new = self._put(tensor, theirs, value.unit, arrived if whole else None)
        if record is not None and self.kind == "float64":
            record.forced = self._tag(new)
            record.cut = whole
        return new

    def _inside(self, value: Value, mine: np.ndarray) -> bool:
        """Whether the reference's value is made by an op in the candidate's layer (a fused activation follows)."""
        call = next((c for c in self.candidate.calls.get((self.step, value.path), []) if c.id == value.event), None)
        if call is None:
            return False
        for op in self.candidate.ops[self.step]:
            if call.id < op.id < call.end:
                for item in op.outputs:
                    if item.ref.size == mine.size and "float" in item.ref.dtype:
                        theirs = self.candidate.array(item.ref).reshape(mine.shape)
                        if distance(theirs, mine) < 64 * value.unit:
                            return True
        return False

    def _force_gradient(
        self, frame: Frame, name: str, gradient: Any, value: Value, how: Any, tag: int, unused: np.ndarray | None
    ) -> Any:
        """Measures the gradient that arrived and goes on with the candidate's.

        Where `unused`, the layer drops it: there the two may differ, as behind the ties of a max-pool.
        """
        from parity.capture.frameworks.torch_force import padding_rows

        key: Key = (self.step, "gradient", frame.path, frame.call, name)
        busy, self.busy = self.busy, True
        try:
            mine = self._read(gradient)
            stopped = value.gradient is None
            if stopped and not (self.candidate.differentiated(self.step) and mine.any()):
                return gradient
            theirs = np.zeros_like(mine) if value.gradient is None else lay(value.gradient, how, gradient=True)
            rows = padding_rows(frame.layer, frame.data)
            if rows is not None:
                unused = np.broadcast_to(rows, theirs.shape) if unused is None else unused | rows
            if unused is not None and theirs.shape == mine.shape == unused.shape and unused.any():
                mine, theirs = np.where(unused, 0.0, mine), np.where(unused, 0.0, theirs)
            record = self.measure(
                key, "backward", mine, theirs, candidate=value.path, event=value.event, unit=value.unit, tag=tag
            )
            if record is not None and stopped:
                record.mismatch = "stopped"
            self._touched.add(frame.path)
            new = self.adapter.make(self._moved(theirs, value.unit), gradient)
            if self.kind == "float64" and not name.strip("0."):
                self._sum_terms(frame, new)
            return new
        finally:
            self.busy = busy

    def _sum_terms(self, frame: Frame, gradient: Any) -> None:
        from parity.capture.frameworks.torch_force import sums_of_absolute_terms

        x = getattr(frame, "data", None)
        if x is None or not self.double:
            return
        try:
            terms = sums_of_absolute_terms(frame.layer, x, gradient)
        except (RuntimeError, ValueError, TypeError):
            return
        for role, values in terms.items():
            name = self.parameter_name(getattr(frame.layer, role))
            if name is not None:
                self._terms[name] = self._terms[name] + values if name in self._terms else values

    def _on_op(self, name: str, inputs: list[Any], outputs: Any, view: bool, inplace: bool, reduction: int) -> Any:
        self.busy = True
        number, self._op = self._op, self._op + 1
        tags = [self._tag(t) for t in inputs]
        if self._first is not None and tags:
            tags[0] = self._first
        self._consumed.update(tags)
        n = max([reduction, *(self._n.get(t, 1) for t in tags)])
        made = [t for _, t in tensors_in(outputs, self.adapter.is_tensor)]
        record = None
        if self.kind == "float64":
            file, line = self.source.here()
            record = ForcedOp(
                next(self._ids), self.step, name, self.here, file, line, tags, [], tuple(made[0].shape),
                [tuple(t.shape) for t in inputs], view, reduction, floating=made[0].is_floating_point(),
            )  # fmt: skip
            self.ops.append(record)
            self._step_ops.append(record)
        single = len(made) == 1 and outputs is made[0] and made[0].is_floating_point() and made[0].numel() > 0
        inexact = self._inexact(name.rstrip("_"), inputs, made)
        if single and not view and not inplace and made[0].numel() > 1:
            outputs = self._snap(number, outputs, record, FACTOR * inexact)
            made = [outputs]
        elif record is not None and (single or _picks(name, made)):
            self._look(made[0], record)
        rough = name.rstrip("_") in TRANSCENDENTAL or any(t in self._rough for t in tags)
        slack = max([0.0, *(self._slack.get(t, 0.0) for t in tags)]) * self._scaled(name, inputs, made, tags)
        if inexact:
            slack = max(slack, inexact)
        if record is not None and (inexact or name in _BACKWARD):
            steeper = inexact * self._steepened(name.rstrip("_"), made)
            self._inexact_ops[record.id] = max(steeper, _BACKWARD.get(name, 0.0))
        for tensor in made:
            tag = self._retag(tensor, n)
            if slack:
                self._slack[tag] = slack
            if rough:
                self._rough.add(tag)
            if record is not None:
                record.outputs.append(tag)
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.data is None and frame.layer is not None:
            wanted = (t for t in inputs[:1] if t.is_floating_point())
            if name == "embedding":
                wanted = (t for t in inputs if not t.is_floating_point())
            frame.data = next((t.detach() for t in wanted), None)
        outputs = self._structural(name, inputs, outputs, record)
        if record is not None and self.double and not view and not inplace:
            self._sum_raw_terms(name, inputs, outputs)
            if name == "log_softmax" and outputs.requires_grad:
                self._amplify(record, outputs)
        self.busy = False
        return outputs

    def _scaled(self, name: str, inputs: list[Any], made: list[Any], tags: list[int]) -> float:
        """By how much an op makes what comes in larger, where it multiplies: so grows what that is off by."""
        if self.kind != "float64" or name.strip("_") not in _MULTIPLIES or not made:
            return 1.0
        inexact = [rms(self._read(t)) for t, tag in zip(inputs, tags, strict=True) if self._slack.get(tag)]
        return max(1.0, rms(self._read(made[0])) / inexact[0]) if len(inexact) == 1 and inexact[0] > 0 else 1.0

    def _sum_raw_terms(self, name: str, inputs: list[Any], output: Any) -> None:
        """The same for a parameter that the script's own code adds, multiplies or multiplies a matrix with."""
        from parity.capture.frameworks.torch_force import absolute_terms

        if self.stack and self.adapter.is_framework_layer(self.stack[-1].layer):
            return
        for position, tensor in enumerate(inputs[:2]):
            parameter = self.parameter_name(tensor)
            if parameter is None or not (self.adapter.is_tensor(output) and output.requires_grad):
                continue

            def arrived(gradient: Any, name: str = name, position: int = position, parameter: str = parameter) -> None:
                busy, self.busy = self.busy, True
                values = absolute_terms(name, inputs, position, gradient)
                if values is not None:
                    self._terms[parameter] = self._terms.get(parameter, 0) + values
                self.busy = busy

            output.register_hook(arrived)

    def _amplify(self, record: ForcedOp, output: Any) -> None:
        """How much larger than its gradient the terms are that a log-softmax subtracts: its kernel is off by these."""
        from parity.capture.frameworks.torch_force import cancelled

        def arrived(gradient: Any) -> None:
            busy, self.busy = self.busy, True
            self._amplified[record.id] = cancelled(output, gradient)
            self.busy = busy

        output.register_hook(arrived)

    def _inexact(self, name: str, inputs: list[Any], made: list[Any]) -> float:
        """What the candidate's kernel of an op may be off by (absolute), an eighth of it; 0 where it is exact."""
        if self.kind != "float64" or not inputs or not made:
            return 0.0
        if name in ("tanh", "lstm", "gru"):
            return TANH if float(np.abs(self._read(inputs[0])).max(initial=0.0)) > 2.5 else 0.0
        if name in ("elu", "celu", "softplus", "logsigmoid", "log_sigmoid"):
            return EXP
        if name in ("log_softmax", "logsumexp"):  # a logarithm of a sum that is rounded once, whatever comes off it
            largest = float(np.abs(self._read(inputs[0])).max(initial=0.0))
            return EXP + (2.0**-24 * largest / FACTOR if largest < np.inf else 0.0)
        return EXP * rms(self._read(made[0])) if name == "exp" else 0.0

    def _steepened(self, name: str, made: list[Any]) -> float:
        """By how much more an inexact result is off in the gradient: where tanh is flat, 1 - y² is small."""
        if name != "tanh":
            return 1.0
        return 1 / max(rms(1 - self._read(made[0]) ** 2), 1e-3)

    def _structural(self, name: str, inputs: list[Any], outputs: Any, record: ForcedOp | None) -> Any:
        """The output of a linear op whose parameters belong to no layer that is called: a boundary of its own."""
        if name not in LINEAR or not self.adapter.is_tensor(outputs) or self.companions.depth:
            return outputs
        for parameter in filter(None, map(self.parameter_name, inputs)):
            owner = parameter.rpartition(".")[0]
            if self.stack and self.stack[-1].path == owner and self.candidate.same_function(owner):
                return outputs
            target = self.candidate.targets.get(owner)
            if target is None or not all(k == "linear" for k in self.candidate.kinds(owner)[1]):
                return outputs
            call = self._uses[owner]
            self._uses[owner] += 1
            value = self.candidate.output(self.step, owner, call, "", 0)
            if value is None:
                return outputs
            frame = Frame(None, owner, call, -1, None, True)
            self.paired[owner] = value.path
            return self._force_output(frame, "", outputs, value, "output")
        return outputs

    def _snap(self, number: int, tensor: Any, record: ForcedOp | None, off: float) -> Any:
        """Goes on with the candidate's value where it has this tensor to within rounding: signs and ties agree then.

        Args:
            number: Of the op in its pass.
            tensor: What it made.
            record: The op, None in further passes.
            off: What the candidate's kernel may be off by (absolute).
        """
        key = (self.step, number)
        if record is None:
            known = self.store.snaps.get(key)
            if known is None:
                return tensor
            ref, unit = known
            return self._put(tensor, self.candidate.array(ref).reshape(tuple(tensor.shape)), unit)
        mine, near = self._look(tensor, record)
        _, entries = self._candidates()
        scale = rms(mine) if off else 0.0
        for gap, entry, moved in near[:3]:
            ref = entries[entry][0]
            unit = max(unit_of(ref.dtype), 2.0**-24) if self.candidate.half else 2.0**-24
            allowed = max(4.0, 0.5 * float(np.sqrt(record.reduction))) * unit
            if scale:
                allowed = max(allowed, min(off / scale, 1e-5))
            if moved or gap > 2 * allowed:
                continue
            theirs = self.candidate.array(ref).reshape(mine.shape)
            if distance(theirs, mine) <= allowed:
                record.best, record.match, record.moved = distance(theirs, mine), entries[entry][1], False
                self.store.snaps[key] = (ref, unit)
                return self._put(tensor, theirs, unit)
        return tensor


def _picks(name: str, made: list[Any]) -> bool:
    """Whether an op gave values with their indices, and the values are worth a look."""
    return name in _PICKS and len(made) > 1 and made[0].is_floating_point() and made[0].numel() > 1
