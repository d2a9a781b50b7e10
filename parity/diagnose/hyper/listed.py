"""Everything that both scripts declared, side by side, whether it differs or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from parity.diagnose.counterparts import Counterparts
from parity.diagnose.hyper.configs import paired_configurations
from parity.diagnose.hyper.loaders import epochs_of
from parity.diagnose.hyper.provenance import Constructed, configurations, origin, tidy
from parity.diagnose.hyper.settings import Setting, Side, paired_parameters
from parity.diagnose.loading.loaders import Loader, loaders_of, pair_loaders
from parity.diagnose.pairing import LayerPair, layer_pairs, losses
from parity.diagnose.stage import Context
from parity.document import Listed, Value
from parity.mapping import ABSENT, Compared
from parity.model import LossEvent, ObjectInfo
from parity.trace import Trace

_LOADER = ("batch_size", "shuffle", "drop_last", "sampler", "collate_fn")
_OWN = frozenset(["params", "lr", "learning_rate", "weight_decay"])


def listed(context: Context) -> list[Listed]:
    """All declared values of what corresponds."""
    return [
        *_models(context), *_layers(context), *_optimizers(context), *_loaders(context), *_calls(context),
        *_loop(context), *_configurations(context),
    ]  # fmt: skip


def _models(context: Context) -> list[Listed]:
    """The arguments of the models themselves, where both call them the same."""
    roots = [[x for x in t.layers if x.root and not x.framework] for t in (context.reference, context.candidate)]
    found = []
    for r, c in zip(*roots, strict=False) if len(roots[0]) == len(roots[1]) else ():
        of = f"the model ({c.type}; {r.type})"
        for name in [n for n in r.arguments if n in c.arguments]:
            made = ((r, context.reference), (c, context.candidate))
            values = [_value(x, name, x.arguments[name], trace) for x, trace in made]
            found.append(Listed(of, name, values[0], values[1], _same(r.arguments[name], c.arguments[name])))
    return found


def _layers(context: Context) -> list[Listed]:
    counterparts = Counterparts(context.reference, context.candidate)
    pairs = layer_pairs(context.reference, context.candidate, counterparts.known)
    mine, theirs = losses(context.reference), losses(context.candidate)
    if len(mine) == len(theirs):
        pairs += [LayerPair(r, c) for r, c in zip(mine, theirs, strict=True)]
    found = []
    for r, c in pairs:
        of = f"{c.path or c.type} ({c.type}; {r.path or r.type}, {r.type})"
        for item in counterparts.every(r.type, c.type, r.arguments, c.arguments):
            found.append(_argument(of, item, r, c, context))
    return found


def _argument(of: str, item: Compared, mine: Constructed, theirs: Constructed, context: Context) -> Listed:
    """One argument of a pair of objects."""
    names = item.parameter.reference, item.parameter.candidate
    values = [
        _value(made, name, value, trace)
        for made, name, value, trace in (
            (mine, names[0], item.reference, context.reference), (theirs, names[1], item.candidate, context.candidate),
        )
    ]  # fmt: skip
    return Listed(of, " / ".join(dict.fromkeys(filter(None, names))), values[0], values[1], item.equal)


def _value(made: Constructed, name: str | None, value: Any, trace: Trace) -> Value | None:
    if name is None or value is ABSENT:
        return None
    return Value(tidy(value), origin(made, name, trace.meta.framework, configurations(trace)))


def _optimizers(context: Context) -> list[Listed]:
    """Each kind of parameter group once: its rates over the captured steps, its decay, the other settings."""
    mine, theirs = Side(context.reference), Side(context.candidate)
    counterparts = Counterparts(context.reference, context.candidate)
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for r, c in paired_parameters(context.candidate):
        if r in mine.steps[0] and c in theirs.steps[0]:
            key = tuple(repr(_plain(side.steps[0][n])) for side, n in ((mine, r), (theirs, c)))
            groups.setdefault(key, []).append((r, c))
    found = []
    for names in groups.values():
        r, c = names[0]
        one, other = mine.steps[0][r], theirs.steps[0][c]
        of = f"{other.event.name} ({other.event.class_name}; {one.event.name}, {one.event.class_name})"
        of += f", {len(names)} parameters from {c} on" if len(groups) > 1 else ""
        rates = [[tidy(s.steps[k][n].group.get("lr")) for k in sorted(s.steps) if n in s.steps[k]] for s, n in
                 ((mine, r), (theirs, c))]  # fmt: skip
        found.append(Listed(of, "lr, step by step", *_given(mine, one, rates[0], theirs, other, rates[1], _rate)))
        decays = one.group.get("weight_decay"), other.group.get("weight_decay")
        found.append(Listed(of, "weight_decay", *_given(mine, one, decays[0], theirs, other, decays[1], _decay)))
        made = mine.info(one.event), theirs.info(other.event)
        if made[0] is None or made[1] is None:
            continue
        settings = {**made[0].arguments, **one.group}, {**made[1].arguments, **other.group}
        for item in counterparts.every(made[0].type, made[1].type, *settings):
            if not {item.parameter.reference, item.parameter.candidate} & _OWN:
                found.append(_argument(of, item, made[0], made[1], context))
    return found


def _plain(setting: Setting) -> dict[str, Any]:
    return {"of": setting.event.index, **{k: v for k, v in setting.group.items() if k != "parameters"}}


def _rate(info: ObjectInfo) -> str:
    return next((n for n in ("lr", "learning_rate") if n in info.arguments), "lr")


def _decay(info: ObjectInfo) -> str:
    return "weight_decay"


def _given(
    mine: Side, one: Setting, value: Any, theirs: Side, other: Setting, their_value: Any,
    name: Callable[[ObjectInfo], str],
) -> tuple[Value, Value, bool]:  # fmt: skip
    """One setting of a group on both sides, with who chose it."""
    values = []
    for side, setting, held in ((mine, one, value), (theirs, other, their_value)):
        info, trace = side.info(setting.event), side.trace
        first = held[0] if isinstance(held, list) and held else held
        if info is None or not _same(info.arguments.get(name(info)), first):
            said = "set for a parameter group, or by a schedule"
        else:
            said = origin(info, name(info), trace.meta.framework, configurations(trace))
        values.append(Value(tidy(held), said))
    return values[0], values[1], _same(values[0].value, values[1].value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) <= 1e-5 * max(abs(one), abs(other))
    return bool(one == other)


def _loaders(context: Context) -> list[Listed]:
    found = []
    for r, c in pair_loaders(loaders_of(context.reference), loaders_of(context.candidate)):
        of = f"{c.name} ({r.name})"
        for name in _LOADER:
            values = [_of_loader(loader, name) for loader in (r, c)]
            if any(v is not None and v.value is not None for v in values):
                equal = values[0].value == values[1].value if values[0] and values[1] else None
                found.append(Listed(of, name, values[0], values[1], equal))
        for name, field in (("steps per epoch", "batches"), ("samples per epoch", "samples")):
            if r.epoch is not None and c.epoch is not None and r.complete and c.complete:
                numbers = [getattr(x.epoch, field) for x in (r, c)]
                read = [Value(n, "counted, reading the loader alone") for n in numbers]
                found.append(Listed(of, name, read[0], read[1], numbers[0] == numbers[1]))
    return found


def _of_loader(loader: Loader, name: str) -> Value | None:
    """An argument of a loader in the words of PyTorch."""
    event, trace = loader.event, loader.trace
    if name == "shuffle":
        return Value(event.shuffled, "as its samplers are") if event.shuffled is not None else None
    other = "drop_remainder" if name == "drop_last" and "drop_remainder" in event.arguments else name
    if name == "batch_size" and loader.columns and loader.columns[0].ref.shape:
        size = loader.columns[0].ref.shape[0]
        if size != event.arguments.get(name):
            return Value(size, "as its first batch has it")
    if other not in event.arguments:
        return None
    return Value(event.arguments[other], origin(event, other, trace.meta.framework, configurations(trace)))


_CALLS = (
    ("seed", "seed", "seeds"), ("determinism", "deterministic algorithms", "determinism"),
    ("clip", "clipping of gradients", "clipping"), ("scaler", "loss scaling", "scaling"),
)  # fmt: skip


def _calls(context: Context) -> list[Listed]:
    """What scripts declare by calls: seeds, determinism, clipping, loss scaling."""
    found = []
    for kind, name, of in _CALLS:
        sides = [[_called(o) for o in t.objects if o.kind == kind] for t in (context.reference, context.candidate)]
        for number in range(max(map(len, sides))):
            values = [side[number] if number < len(side) else None for side in sides]
            found.append(Listed(of, name, values[0], values[1], None))
    return found


def _called(info: ObjectInfo) -> Value:
    words = {k: v for k, v in info.arguments.items() if isinstance(v, (bool, int, float, str))}
    return Value(f"{info.type}({', '.join(f'{k}={v!r}' for k, v in words.items())})", f"at {info.file}:{info.line}")


def _loop(context: Context) -> list[Listed]:
    """Epochs, and how many backward passes one update takes."""
    found = []
    sides = [epochs_of(trace) for trace in (context.reference, context.candidate)]
    if any(sides):
        values = [Value(e.number, f"at {e.info.file}:{e.info.line}") if e else None for e in sides]
        equal = sides[0].number == sides[1].number if sides[0] and sides[1] else None
        found.append(Listed("the training loop", "epochs", values[0], values[1], equal))
    passes = [_passes(trace) for trace in (context.reference, context.candidate)]
    if all(passes):
        counted = [Value(n, "counted in the first step") for n in passes]
        equal = passes[0] == passes[1]
        found.append(Listed("the training loop", "backward passes of one update", counted[0], counted[1], equal))
    return found


def _passes(trace: Trace) -> int:
    return len({event.backward for event in trace.of(LossEvent, 0)})


def _configurations(context: Context) -> list[Listed]:
    found = []
    for one, other in paired_configurations(context):
        of = f"{other.name or other.type} ({other.type})"
        sides = dict(_leaves(one.arguments)), dict(_leaves(other.arguments))
        for path in dict.fromkeys([*sides[0], *sides[1]]):
            values = [
                Value(side[path], _source(info, path)) if path in side else None
                for info, side in ((one, sides[0]), (other, sides[1]))
            ]
            equal = _same(values[0].value, values[1].value) if values[0] and values[1] else None
            found.append(Listed(of, path, values[0], values[1], equal))
    return found


def _leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nest of dicts, with their places: `model.width`."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _source(info: ObjectInfo, key: str) -> str:
    if info.type == "argparse":
        return "given on the command line" if key in info.given else "the option's default"
    return f"from {info.type}"
