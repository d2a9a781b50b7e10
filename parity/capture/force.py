"""The forcing session: one pass of the reference along the candidate, through loss, gradients and optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.align.candidate import own_scale
from parity.align.parameters import to_reference
from parity.align.passes import Part
from parity.align.values import Index, distance, rms
from parity.capture.force_companions import CompanionForcing
from parity.capture.measure import LINEAR, TRANSCENDENTAL
from parity.capture.running import name_update
from parity.capture.store import Key
from parity.measured import Measured

_STATES = {
    "momentum_buffer": ("momentum_buffer", "moments", "accum"),
    "exp_avg": ("exp_avg", "moment1", "adam_m", "moments1"),
    "exp_avg_sq": ("exp_avg_sq", "moment2", "adam_v", "moments2"),
    "square_avg": ("square_avg", "mean_square"),
    "sum": ("sum", "accum"),
}


class Forcer(CompanionForcing):
    """Forces the whole training step."""

    def _on_model(self) -> None:
        from parity.capture.frameworks.torch_force import double, no_autocast

        self.busy = True
        if self.double:
            for root in self.roots:
                double(root)
            self._refresh_buffers()
        for companion in self.companions.found:
            self._lift(companion)

        self._undo.append(no_autocast())
        known = {p.name: p.ref for p in self.candidate.trace.parameters if p.ref is not None}
        self._assign(self.candidate.arrays(known))
        self._resting = self.resting()
        self.busy = False

    def _refresh_buffers(self) -> None:
        """Finds the buffers again: parameters keep their objects when a module changes precision, buffers do not."""
        now = {
            ".".join(filter(None, (self.path(root), h.names[0]))): h.tensor
            for root in self.roots
            for h in self.adapter.held(root)
            if h.buffer
        }
        self.held = [h._replace(tensor=now.get(h.names[0], h.tensor)) if h.buffer else h for h in self.held]

    def _on_backward(self, loss: Any) -> None:
        self.busy = True
        self._reach_back()
        trainable = [h.tensor for h in self.held if h.trainable]
        self._stash = {id(p): p.grad for p in trainable if p.grad is not None}
        for parameter in trainable:
            if parameter.grad is None or not parameter.grad.any():
                self._unanswered.pop(id(parameter), None)
            parameter.grad = None
        if loss is not None:
            self._force_loss(loss)
        self.busy = False

    def _part(self) -> Part:
        """The present backward pass among those that belong together with it."""
        known = self.candidate.parts.get((self.step, self.backwards))
        number = self.backwards
        return known if known is not None else Part((number,), (number,), number, True)

    def _force_loss(self, loss: Any) -> None:
        part = self._part()
        refs = [self.candidate.losses.get((self.step, number)) for number in part.candidate]
        if any(ref is None for ref in refs):
            return
        mine = self._read(loss)
        if self.kind == "float64":
            self.loss_tags.append(self._tag(loss))
        arrays = [np.asarray(self.candidate.array(ref), np.float64) for ref in refs if ref is not None]
        theirs = arrays[0] if len(arrays) == 1 else np.asarray(sum(float(a.sum()) for a in arrays))
        scale = self.store.scales.get(self.step, 1.0)
        whole = mine if len(part.reference) == 1 else self.candidate.loss_of_reference(self.step, part.reference)
        if self.kind == "float64" and whole.size == theirs.size == 1 and float(whole.reshape(-1)[0]):
            ratio = float(theirs.reshape(-1)[0] / whole.reshape(-1)[0])
            factor = _round_factor(ratio)
            if factor != 1.0 and self.candidate.scales_loss(self.step, factor):
                scale = self.store.scales[self.step] = factor
        if scale != 1.0:
            theirs = theirs / scale
            loss.register_hook(lambda gradient, scale=scale: gradient * scale)
        if len(part.reference) > 1:
            self._sum_loss = self._sum_loss + float(mine.sum())
            mine = np.asarray(self._sum_loss)
        if not part.last:
            return
        self._sum_loss = 0.0
        key: Key = (self.step, "loss", "", part.number, "")
        laid = theirs.reshape(mine.shape) if theirs.size == mine.size else theirs
        self.measure(key, "loss", mine, laid, candidate="", tag=self._tag(loss))

    def _reach_back(self) -> None:
        """Gives each tensor the longest sum that its gradient takes before the next boundary."""
        if self.kind != "float64":
            return
        back: dict[int, int] = {}
        rough: set[int] = set()
        inexact: dict[int, float] = {}
        forced = {r.tag for r in self._step_records if r.cut}
        through = {r.forced: r.tag for r in self._step_records if r.forced >= 0 and not r.cut}
        for op in reversed(self._step_ops):
            beyond = max([1, *(back.get(t, 1) for t in op.outputs if t not in forced)])
            size = int(np.prod(op.shape)) if op.shape else 1
            for given, shape in zip(op.inputs, op.shapes, strict=False):
                tag = given
                while tag in through:
                    tag = through[tag]
                own = int(np.prod(shape)) if shape else 1
                spread = max(1, size // max(1, own))
                if op.name in ("linear", "matmul", "bmm", "mm", "addmm") and op.shape:
                    spread = op.shape[-1]
                elif op.name.startswith("conv") and len(op.shapes) > 1:
                    spread = max(1, int(np.prod(op.shapes[1])) // max(1, op.shape[1] if len(op.shape) > 1 else 1)) * 4
                elif op.name in ("batch_norm", "layer_norm", "group_norm", "softmax", "log_softmax"):
                    spread = op.reduction
                elif op.name == "embedding":
                    spread = max(1, size // max(1, int(op.shapes[-1][0]) if op.shapes[-1] else 1))
                back[tag] = max(back.get(tag, 1), spread, beyond)
                if op.name.rstrip("_") in TRANSCENDENTAL or any(t in rough and t not in forced for t in op.outputs):
                    rough.add(tag)
                own_off = self._inexact_ops.get(op.id, 0.0) * self._amplified.get(op.id, 1.0)
                off = max([own_off, *(inexact.get(t, 0.0) for t in op.outputs if t not in forced)])
                if off:
                    inexact[tag] = max(off, inexact.get(tag, 0.0))
        self._back, self._back_rough, self._back_inexact = back, rough, inexact

    def _on_gradients(self, gradients: dict[int, Any] | None) -> None:
        self.busy = True
        part = self._part()
        self._reach_back()
        if len(part.reference) > 1 and not self._sum_up(part):
            self.busy = False
            return
        theirs = self._their_gradients(part)
        scale = self.store.scales.get(self.step, 1.0)
        mapped = {name for pair in self.candidate.mapping.pairs for name in (pair.reference, *pair.parts)}
        for held in self.held:
            if not held.trainable:
                continue
            name, parameter = held.names[0], held.tensor
            other = theirs.get(name)
            if parameter.grad is not None and other is not None:
                mine = self._read(parameter.grad)
                key: Key = (self.step, "parameter-gradient", name, part.number, "")
                candidate, unit = self._owner(held)
                record = self.measure(key, "backward", mine, other, candidate=candidate, unit=unit)
                if record is not None and self.kind == "float64":
                    terms = self._terms.get(name)
                    record.terms = rms(terms) if terms is not None else 0.0
                    record.n = self._rows(held)
                    record.tag = tag = self._tag_of_parameter(held.tensor)
                    record.rough = tag in self._back_rough
                    record.slack = 2 * self._back_inexact.get(tag, 0.0) * max(record.scale, record.terms)
                parameter.grad = self.adapter.make(self._moved(other, 2.0**-24) / scale, parameter.grad)
            elif parameter.grad is not None and self.kind == "float64" and theirs:
                mine = self._read(parameter.grad)
                if name in mapped and rms(mine) > 0:
                    self._unanswered[id(parameter)] = (self.step, part.number, held, mine)
            before = self._stash.get(id(parameter))
            if before is not None:
                parameter.grad = before if parameter.grad is None else parameter.grad + before
        self._terms.clear()
        self.busy = False

    def _their_gradients(self, part: Part) -> dict[str, np.ndarray]:
        """What the candidate's passes made together, by the reference's names."""
        found: dict[str, np.ndarray] = {}
        for number in part.candidate:
            refs = self.candidate.backward.get((self.step, number), {})
            made = to_reference(self.candidate.mapping, self.candidate.arrays(refs), self._shapes())
            found.update({name: found[name] + values if name in found else values for name, values in made.items()})
        return found

    def _sum_up(self, part: Part) -> bool:
        """Adds this pass's gradients to those before it; the last pass gets the sum, the others leave none."""
        for held in self.held:
            parameter = held.tensor
            if held.trainable and parameter.grad is not None:
                known = self._sums.get(id(parameter))
                values = self._read(parameter.grad)
                self._sums[id(parameter)] = values if known is None else known + values
        for held in self.held:
            parameter = held.tensor
            if not held.trainable:
                continue
            if not part.last:
                parameter.grad = self._stash.get(id(parameter))
            elif id(parameter) in self._sums:
                parameter.grad = self.adapter.make(self._sums[id(parameter)], parameter)
        if part.last:
            self._sums.clear()
        return part.last

    def _confirm_missing(self, optimizer: Any) -> None:
        """Gradients that the candidate never made count where an optimizer is about to use them."""
        for parameter in self.adapter.optimizer_parameters(optimizer):
            known = self._unanswered.pop(id(parameter), None)
            if known is None or parameter.grad is None or not parameter.grad.any():
                continue
            step, backward, held, mine = known
            key: Key = (step, "parameter-gradient", held.names[0], backward, "")
            candidate, unit = self._owner(held)
            record = self.measure(key, "backward", mine, mine, candidate=candidate, unit=unit)
            if record is not None:
                record.mismatch = "missing"

    def _owner(self, held: Any) -> tuple[str, float]:
        pair = next(
            (p for p in self.candidate.mapping.pairs if p.reference == held.names[0] or held.names[0] in p.parts), None
        )
        name = pair.candidate if pair else ""
        calls = self.candidate.calls.get((self.step, name.rpartition(".")[0]), [])
        return name, self.candidate.unit(calls[0], calls[0].outputs[0]) if calls and calls[0].outputs else 2.0**-24

    def _rows(self, held: Any) -> int:
        """How many terms one element of a parameter's gradient sums."""
        most = 1
        size = max(1, int(held.tensor.numel()))
        first = int(held.tensor.shape[0]) if held.tensor.dim() else 1
        for op in self._step_ops:
            for tag, shape in zip(op.inputs, op.shapes, strict=False):
                if tag == self._tag_of_parameter(held.tensor) and shape == tuple(held.tensor.shape):
                    made = int(np.prod(op.shape)) if op.shape else 1
                    most = max(
                        most,
                        made // max(1, first if op.name in LINEAR or op.name.startswith("conv") else min(size, made)),
                    )
        return most

    def _tag_of_parameter(self, tensor: Any) -> int:
        tag = self.adapter.tag(tensor)
        return -2 if tag is None else tag

    def _optimizer_event(self, optimizer: Any) -> Any:
        events = self.candidate.optimizers.get(self.step, [])
        index = self._optimizers_seen
        return events[index] if index < len(events) else None

    def _on_optimizer(self, optimizer: Any, gradients: list[Any]) -> list[Any]:
        self.busy = True
        self._confirm_missing(optimizer)
        self.busy = False
        event = self._optimizer_event(optimizer)
        if event is None:
            return gradients
        self.busy = True
        scale = own_scale(event)
        arrays = {name: values / scale for name, values in self.candidate.arrays(event.given).items()}
        given = to_reference(self.candidate.mapping, arrays, self._shapes())
        result = []
        total = sum(int(np.prod(shape)) for shape in self._shapes().values())
        for parameter, gradient in zip(self.adapter.optimizer_parameters(optimizer), gradients, strict=True):
            name = self.parameter_name(parameter) or ""
            theirs = given.get(name)
            if theirs is None or gradient is None:
                result.append(gradient)
                continue
            key: Key = (self.step, "given", name, self._optimizers_seen, "")
            record = self.measure(key, "optimizer", self._read(gradient), theirs, candidate=event.name)
            if record is not None and self.kind == "float64":
                record.n = total
            result.append(self.adapter.make(self._moved(theirs, 2.0**-24), gradient))
        self._before = {id(p): self._read(p) for p in self.adapter.optimizer_parameters(optimizer)}
        self.busy = False
        return result

    def _on_updated(self, optimizer: Any) -> None:
        event = self._optimizer_event(optimizer)
        self._optimizers_seen += 1
        if event is None:
            return
        self.busy = True
        after = to_reference(self.candidate.mapping, self.candidate.arrays(event.after), self._shapes())
        own = set(after)
        after = {**self._untouched(), **after}
        resting = {held.names[0] for held in self.held if not held.trainable} - own
        state = self.adapter.optimizer_state(optimizer)
        states = self._states_of(event.state)
        for parameter in self.adapter.optimizer_parameters(optimizer):
            name = self.parameter_name(parameter) or ""
            theirs = after.get(name) if name not in resting else self._before.get(id(parameter))
            if theirs is None:
                continue
            if name in self.unknown:
                self.adapter.assign(parameter, self._moved(theirs, 2.0**-24))
                continue
            mine = self._read(parameter)
            key: Key = (self.step, "parameter", name, self._optimizers_seen - 1, "")
            record = self.measure(key, "optimizer", mine, theirs, candidate=event.name)
            held_state = self._state(event.name, name, state.get(id(parameter), {}), states)
            if record is not None and self.kind == "float64":
                self._alternatives(record, optimizer, parameter, theirs, held_state)
                before: np.ndarray = np.asarray(self._before[id(parameter)], np.float64)
                record.terms = 2 * rms(mine - before)
                record.single = max(record.single, _coefficients(optimizer, parameter) * rms(mine - before))
                record.detail = f"{rms(mine - before):.6g} {rms(theirs - before):.6g}"
                _proportion(record, mine - before, theirs - before)
                (gradient,) = self.adapter.gradients([parameter])
                given = self._read(gradient) if gradient is not None else None
                _projected(record, theirs - mine, {"weight": before, "gradient": given, "sign": np.sign(mine - before)})
            self.adapter.assign(parameter, self._moved(theirs, 2.0**-24))
        mine_too = {id(p) for o in self.optimizers for p in self.adapter.optimizer_parameters(o)}
        for held in self.held:
            if not held.buffer and id(held.tensor) not in mine_too and held.names[0] in own:
                self.adapter.assign(held.tensor, self._moved(after[held.names[0]], 2.0**-24))
        self.busy = False

    def _untouched(self) -> dict[str, np.ndarray]:
        """Weights that no optimizer of the candidate updates in this step stay what they were when it began."""
        updated = {name for event in self.candidate.optimizers.get(self.step, []) for name in event.after}
        known = self.candidate.trace.parameters
        left = {p.name: p.ref for p in known if p.ref is not None and p.name not in updated}
        for step in range(self.step):
            for event in self.candidate.optimizers.get(step, []):
                left.update({name: ref for name, ref in event.after.items() if name in left})
        return to_reference(self.candidate.mapping, self.candidate.arrays(left), self._shapes())

    def _alternatives(
        self, record: Measured, optimizer: Any, parameter: Any, theirs: np.ndarray, state: dict[str, Any]
    ) -> None:
        """Adam in other words: with the candidate's state and float32 coefficients (which is rounding), and with its
        epsilon inside the bias correction (as in Kingma and Ba 2015, section 2, and in TensorFlow).
        """
        group = _group_of(optimizer, parameter)
        if (
            type(optimizer).__name__ not in ("Adam", "AdamW")
            or group.get("amsgrad")
            or not {"exp_avg", "exp_avg_sq"} <= set(state)
        ):
            return
        first, second = (np.asarray(state[k], np.float64) for k in ("exp_avg", "exp_avg_sq"))
        step = float(optimizer.state[parameter]["step"])
        beta1, beta2 = group["betas"]
        rate, decay, eps = float(group["lr"]), float(group["weight_decay"]), float(group["eps"])
        before = np.asarray(self._before[id(parameter)], np.float64)
        if type(optimizer).__name__ == "AdamW":
            before = before * (1 - rate * decay)
        mine = np.asarray(self._read(parameter), np.float64)
        inside, outside = [], []
        for kind in (np.float64, np.float32):
            one = 1 - kind(beta1) ** kind(step)
            two = 1 - kind(beta2) ** kind(step)
            size = rate * np.sqrt(np.float64(two)) / np.float64(one)
            inside.append(before - size * first / (np.sqrt(second) + eps))
            outside.append(before - rate / np.float64(one) * first / (np.sqrt(second / np.float64(two)) + eps))
        record.single = max([record.single, *(rms(mine - other) for other in outside)])
        record.alternatives["adam-epsilon"] = min(rms(theirs - other) for other in inside)

    def _states_of(self, state: dict[str, dict[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
        """The candidate's optimizer state by the reference's keys and parameter names."""
        found: dict[str, dict[str, np.ndarray]] = {}
        shapes = self._shapes()
        for key, others in _STATES.items():
            other = next((o for o in others if any(o in s for s in state.values())), None)
            if other is not None:
                refs = {n: s[other] for n, s in state.items() if other in s}
                found[key] = to_reference(self.candidate.mapping, self.candidate.arrays(refs), shapes)
        return found

    def _state(
        self, optimizer: str, name: str, state: dict[str, Any], states: dict[str, dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Measures the optimizer's state for one parameter, goes on with the candidate's, and returns it."""
        found: dict[str, np.ndarray] = {}
        for key, tensor in state.items():
            theirs = states.get(key, {}).get(name)
            if theirs is None:
                continue
            mine = self._read(tensor)
            if theirs.shape == mine.shape:
                place: Key = (self.step, "state", name, self._optimizers_seen - 1, key)
                self.measure(place, "optimizer", mine, theirs, candidate=optimizer)
                if distance(theirs, mine) < 1e-4:
                    found[key] = theirs
                    self.adapter.assign(tensor, self._moved(theirs, 2.0**-24))
        return found

    def _buffers_before(self) -> dict[str, np.ndarray]:
        """The candidate's buffers before this step, by the reference's names; empty in the other passes."""
        if self.kind != "float64" or self.evaluating:
            return {}
        known = self.candidate.buffers.get(self.step - 1)
        if known is None and self.step == 0:
            known = {p.name: p.ref for p in self.candidate.trace.parameters if p.buffer and p.ref is not None}
        return to_reference(self.candidate.mapping, self.candidate.arrays(known or {}), self._shapes())

    def _momentum(self, path: str) -> Any:
        """The momentum of the normalization at a path."""
        layer = next((layer for layer in self._kept if self._paths.get(id(layer)) == path), None)
        return getattr(layer, "momentum", None)

    def _on_step_end(self) -> None:
        self.busy = True
        self._draw_on()
        values = self.candidate.buffers.get(self.step)
        if values:
            theirs = to_reference(self.candidate.mapping, self.candidate.arrays(values), self._shapes())
            before = self._buffers_before()
            for held in self.held:
                other = theirs.get(held.names[0])
                if held.buffer and other is not None and held.tensor.is_floating_point():
                    key: Key = (self.step, "buffer", held.names[0], 0, "")
                    candidate, _ = self._owner(held)
                    mine = self._read(held.tensor)
                    record = self.measure(key, "metrics", mine, other, candidate=candidate)
                    if record is not None and self.kind == "float64":
                        times = self.candidate.times_called(self.step, held.owner)
                        if times[0] != times[1] and all(times):
                            record.alternatives |= {"own-calls": float(times[0]), "calls": float(times[1])}
                        old = before.get(held.names[0])
                        if old is not None and old.shape == mine.shape == other.shape:
                            name_update(record, old, mine, other, self._momentum(held.owner))
                        record.n = max([1, *(o.reduction for o in self._step_ops if o.path == held.owner)])
                    self.adapter.assign(held.tensor, self._moved(other, 2.0**-24))
        if self.kind == "float64":
            back = self._back
            for record in self._step_records:
                if record.kind == "gradient":
                    record.n = max(record.n, back.get(record.forced if record.forced >= 0 else record.tag, 1))
            forced = {r.tag: r.forced for r in self._step_records if r.forced >= 0}
            for record in self._step_records:
                if record.kind == "gradient" and record.tag in forced:
                    record.n = back.get(forced[record.tag], 1)
                    record.rough = forced[record.tag] in self._back_rough
                    record.slack = 2 * self._back_inexact.get(forced[record.tag], 0.0) * record.scale
            self._nearest_mine()
        self._inexact_ops.clear()
        self._amplified.clear()
        self._step_ops, self._step_records = [], []
        self._index, self._mine = None, Index()
        self._uses.clear()
        self._sums.clear()
        self._sum_loss = 0.0
        self._op = self._drawn = self._optimizers_seen = self._roots_seen = 0
        self._n.clear()
        self._rough.clear()
        self._slack.clear()
        self._consumed.clear()
        self.busy = False

    def _nearest_mine(self) -> None:
        """For each tensor that the candidate made, how near the nearest one of the reference is."""
        index, entries = self._candidates()
        best: dict[str, float] = {}
        moved: list[str] = []
        for key, sketch in index:
            near = self._mine.nearest(sketch)
            digest = entries[key][0].digest
            best[digest] = near[0][0] if near and np.isfinite(near[0][0]) else 1e9
            if near and near[0][2]:
                moved.append(digest)
        self.candidate_best[str(self.step)] = best
        self.candidate_moved[str(self.step)] = moved


def _proportion(record: Measured, mine: np.ndarray, theirs: np.ndarray) -> None:
    """Notes an update as a multiple of the reference's, and what that leaves, relative to it."""
    square = float(np.sum(mine**2))
    if square > 0 and np.isfinite(theirs).all():
        factor = float(np.sum(mine * theirs)) / square
        record.alternatives["update-factor"] = factor
        record.alternatives["update-rest"] = rms(theirs - factor * mine) / max(rms(theirs), 1e-30)


def _projected(record: Measured, error: np.ndarray, directions: dict[str, np.ndarray | None]) -> None:
    """Notes what multiple of each direction an error of an update is, and what that leaves, relative to it."""
    size = rms(error)
    if not size or not np.isfinite(error).all():
        return
    for name, direction in directions.items():
        square = float(np.sum(direction**2)) if direction is not None else 0.0
        if direction is not None and square > 0 and direction.shape == error.shape:
            factor = float(np.sum(error * direction)) / square
            record.alternatives[f"{name}-factor"] = factor
            record.alternatives[f"{name}-rest"] = rms(error - factor * direction) / size


def _round_factor(ratio: float) -> float:
    """The factor by which somebody would scale a loss on purpose: a power of two, a whole number or the part of one;
    1 where a ratio is none of these.
    """
    if not 0 < ratio < 1e30 or abs(ratio - 1) < 0.03:
        return 1.0
    turned = ratio if ratio > 1 else 1 / ratio
    for whole in (2.0 ** round(np.log2(turned)), float(round(turned))):
        if whole > 1 and abs(turned / whole - 1) < (0.03 if whole >= 8 else 1e-3):
            return whole if ratio > 1 else 1 / whole
    return 1.0


def _group_of(optimizer: Any, parameter: Any) -> dict[str, Any]:
    """The parameter group of a torch optimizer that holds a parameter."""
    group: dict[str, Any] = next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    return group


def _coefficients(optimizer: Any, parameter: Any) -> float:
    """The relative effect on an update of decay rates in float32: `1 - 0.999` is off by a thousand units."""
    group = _group_of(optimizer, parameter)
    rates = [*(group.get("betas") or ()), group.get("alpha", 0.0), group.get("rho", 0.0)]
    return sum(2.0**-25 / (1 - float(rate)) for rate in rates if 0 < float(rate) < 1)
