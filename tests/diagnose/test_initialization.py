"""The stage `initialization` over small traces whose parameters are written here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.diagnose.initialization import judge
from parity.diagnose.stage import Context, Result
from parity.measured import Forced
from parity.model import EvaluationEvent, InitialEvent, LayerInfo, Layers, Meta, ParameterInfo
from parity.trace import Trace, TraceWriter


class Parameter:
    """One parameter of a side.

    Args:
        own: Its values.
        drawn: Values of further draws [draws, elements], None where nothing random was seen.
        law: What drew them.
        loaded: Whether the values came from a checkpoint.
        type: The owner's class.
        names: Further paths that lead to it.
        buffer: Whether it is no parameter but a buffer.
    """

    def __init__(
        self, own: Any, drawn: Any = None, law: str = "", loaded: bool = False, type: str = "Linear",
        names: tuple[str, ...] = (), buffer: bool = False,
    ) -> None:  # fmt: skip
        self.own = np.asarray(own)
        self.drawn = drawn
        self.law = law
        self.loaded = loaded
        self.type = type
        self.names = names
        self.buffer = buffer


def random(scale: float, *shape: int, seed: int = 0, uniform: bool = False, law: str = "", **more: Any) -> Parameter:
    """A parameter whose initializer was seen: normal, or uniform with a bound of `scale`."""
    generator = np.random.RandomState(seed)
    size = int(np.prod(shape))
    count = max(1, 32768 // size)
    values = generator.uniform(-scale, scale, (count, size)) if uniform else scale * generator.randn(count, size)
    return Parameter(values[0].reshape(shape).astype(np.float32), values.astype(np.float32), law, **more)


def write(
    path: Path, parameters: dict[str, Parameter], mapping: list[dict[str, Any]] | None = None, events: Any = ()
) -> Trace:
    writer = TraceWriter(path)
    for event in events:
        writer.event(event)
    layers: dict[str, LayerInfo] = {}
    infos = []
    for number, (name, parameter) in enumerate(parameters.items()):
        owner, _, role = name.rpartition(".")
        arguments = {"weight_init": None, "bias_init": None, "embedding_table": None}
        layers[owner] = LayerInfo(number, owner, parameter.type, "s.py", number + 1, arguments, [], True)
        ref = writer.put(parameter.own)
        names = [name, *parameter.names]
        shape = tuple(parameter.own.shape)
        buffer = parameter.buffer
        infos.append(ParameterInfo(name, owner, role, shape, ref.dtype, not buffer, buffer, names, ref, ref))
        if parameter.drawn is not None or parameter.loaded:
            values = writer.put(parameter.drawn) if parameter.drawn is not None else None
            seen = parameter.drawn is not None
            writer.event(InitialEvent(name, seen, parameter.law, None, None, parameter.loaded, values))
    writer.layers(Layers(list(layers.values()), infos))
    writer.meta(Meta(complete=True, steps=1, mapping={"pairs": mapping or [], "nodes": []}))
    writer.finish()
    return Trace(path)


Judge = Callable[..., Result]


@pytest.fixture
def compare(tmp_path: Path) -> Judge:
    """Judges two sides whose parameters are paired by name, or as `pairs` says."""

    def run(mine: dict[str, Parameter], theirs: dict[str, Parameter], *pairs: dict[str, Any]) -> Result:
        same = {"transform": "same", "how": "", "confidence": 0.99, "start": 0, "stop": 0, "parts": []}
        given = pairs or tuple({"reference": n, "candidate": n} for n in theirs)
        reference = write(tmp_path / "reference.trace", mine)
        candidate = write(tmp_path / "candidate.trace", theirs, [{**same, **p} for p in given])
        return judge(Context(reference, candidate, Forced(), [], None))

    return run


def test_equal_distributions_match(compare: Judge) -> None:
    names = [f"layer{i}.weight" for i in range(12)]
    mine = {n: random(0.02, 16, 8, seed=i) for i, n in enumerate(names)}
    theirs = {n: random(0.02, 16, 8, seed=100 + i) for i, n in enumerate(names)}
    found = compare(mine, theirs)
    assert found.findings == []
    assert (found.stage.status, found.stage.compared, found.stage.total) == ("match", 12, 12)


def test_one_cause_is_one_finding(compare: Judge) -> None:
    names = [f"layer{i}.embedding_table" for i in range(3)]
    mine = {n: random(1, 16, 8, seed=i, law="normal_()") for i, n in enumerate(names)}
    law = "Normal(sigma=0.01, mean=0.0)"
    theirs = {n: random(0.01, 16, 8, seed=9 + i, law=law, type="Embedding") for i, n in enumerate(names)}
    (finding,) = compare(mine, theirs).findings
    assert (finding.kind, finding.stage, finding.severity) == ("initializer", "initialization", "fault")
    assert finding.reference is not None and finding.candidate is not None
    assert finding.reference.value == "Normal(0, 1)"
    assert finding.candidate.value == "Normal(0, 0.01)"
    assert finding.candidate.path == names[0]
    assert names[1] in finding.message and names[2] in finding.message
    assert finding.fix == "nn.Embedding(..., embedding_table=Normal(1))"


def test_other_kinds_at_the_same_scale(compare: Judge) -> None:
    mine = {"a.weight": random(0.1 / 3**0.5, 64, 64)}
    theirs = {"a.weight": random(0.1, 64, 64, seed=1, uniform=True)}
    (finding,) = compare(mine, theirs).findings
    assert finding.kind == "initializer"
    assert "Uniform(-0.1, 0.1)" in finding.message


def test_constants(compare: Judge) -> None:
    ones, zeros = Parameter(np.ones(8, np.float32)), Parameter(np.zeros(8, np.float32))
    found = compare({"a.gamma": ones, "b.weight": ones}, {"a.gamma": ones, "b.weight": zeros})
    (finding,) = found.findings
    assert finding.kind == "initial-value"
    assert finding.candidate is not None and finding.candidate.path == "b.weight"
    assert finding.fix == "nn.Linear(..., weight_init='ones')"


def test_zeros_against_a_distribution(compare: Judge) -> None:
    zeros = Parameter(np.zeros(10, np.float32))
    (finding,) = compare({"a.bias": random(0.3, 10, uniform=True)}, {"a.bias": zeros}).findings
    assert finding.kind == "initializer"
    assert finding.candidate is not None and finding.candidate.value == "zeros"


def test_a_single_random_value_is_no_constant(compare: Judge) -> None:
    mine, theirs = random(0.3, 1, uniform=True), random(0.3, 1, uniform=True, seed=1)
    assert compare({"a.bias": mine}, {"a.bias": theirs}).findings == []


def test_a_single_number_that_came_unseen_is_undecided(compare: Judge) -> None:
    mine = Parameter(np.array([0.21], np.float32))
    found = compare({"a.bias": mine}, {"a.bias": random(0.3, 1, uniform=True, seed=1)})
    assert found.findings == []
    assert found.stage.note is not None and "a.bias" in found.stage.note


@pytest.mark.parametrize("number", [-2.0, 40.123456])
def test_a_single_number_that_was_written_or_lies_far_away(compare: Judge, number: float) -> None:
    mine = Parameter(np.array([number], np.float32))
    (finding,) = compare({"a.bias": mine}, {"a.bias": random(0.3, 1, uniform=True, seed=1)}).findings
    assert (finding.kind, finding.severity) == ("initializer", "fault")


def test_constants_that_changed_places_were_paired_crosswise(compare: Judge) -> None:
    ones, zeros = (Parameter(np.full(8, value, np.float32)) for value in (1.0, 0.0))
    assert compare({"a.gamma": ones, "b.gamma": zeros}, {"a.gamma": zeros, "b.gamma": ones}).findings == []
    halves = Parameter(np.full(8, 0.5, np.float32))
    assert len(compare({"a.gamma": ones, "b.gamma": zeros}, {"a.gamma": zeros, "b.gamma": halves}).findings) == 2


def test_statistics_of_a_model_that_was_called_before_the_first_step(tmp_path: Path) -> None:
    zeros, moved = Parameter(np.zeros(4, np.float32), buffer=True), Parameter(np.arange(4.0), buffer=True)
    same = {"transform": "same", "how": "", "confidence": 0.99, "start": 0, "stop": 0, "parts": []}
    pairs = [{**same, "reference": "g.bn.mean", "candidate": "g.bn.mean"}]
    reference = write(tmp_path / "reference.trace", {"g.bn.mean": zeros})
    for called, count in (("d", 1), ("g", 0)):
        event = EvaluationEvent(0, called, True, 1, "s.py", 3)
        candidate = write(tmp_path / f"{called}.trace", {"g.bn.mean": moved}, pairs, [event])
        assert len(judge(Context(reference, candidate, Forced(), [], None)).findings) == count


def test_too_few_draws_are_undecided(compare: Judge) -> None:
    generator = np.random.RandomState(0)
    mine, theirs = (Parameter(generator.randn(12).astype(np.float32)) for _ in range(2))
    found = compare({"a.bias": mine}, {"a.bias": theirs})
    assert found.findings == []
    assert (found.stage.status, found.stage.compared) == ("inconclusive", 0)
    assert found.stage.note is not None and "a.bias" in found.stage.note


def test_copies_count_once(compare: Judge) -> None:
    one = np.random.RandomState(0).randn(4, 5).astype(np.float32)
    names = [f"{i}.weight" for i in range(200)]
    theirs = {n: random(1, 4, 5, seed=1) for n in names}
    assert compare({n: Parameter(one * 0.7) for n in names}, theirs).findings == []


def test_given_values(compare: Judge) -> None:
    table = np.sin(np.outer(np.arange(30), 1 / 10 ** np.arange(0, 2, 0.2))).astype(np.float32)
    near = Parameter(table * (1 + 1e-6))
    assert compare({"a.pe": Parameter(table)}, {"a.pe": near}).findings == []
    for other in (table[::-1].copy(), 0.5 * table, table[:, ::-1].copy()):
        (finding,) = compare({"a.pe": Parameter(table)}, {"a.pe": Parameter(other)}).findings
        assert finding.kind == "initial-value"


def test_transposed_and_fused_parts(compare: Judge) -> None:
    weight = np.random.RandomState(0).randn(6, 4).astype(np.float32)
    turned = {"reference": "a.weight", "candidate": "a.weight", "transform": "transpose"}
    assert compare({"a.weight": Parameter(weight)}, {"a.weight": Parameter(weight.T)}, turned).findings == []
    rows = [
        {"reference": "qkv.weight", "candidate": f"{n}.weight", "transform": "rows", "start": 8 * i, "stop": 8 * i + 8}
        for i, n in enumerate("qkv")
    ]
    mine = {"qkv.weight": random(0.1, 24, 8)}
    theirs = {f"{n}.weight": random(0.2 if n == "k" else 0.1, 8, 8, seed=i + 1) for i, n in enumerate("qkv")}
    (finding,) = compare(mine, theirs, *rows).findings
    assert finding.candidate is not None and finding.candidate.path == "k.weight"
    parts = {
        "reference": "",
        "candidate": "qkv.weight",
        "transform": "parts",
        "parts": ["q.weight", "k.weight", "v.weight"],
    }
    swapped = compare(theirs, mine, parts).findings
    assert [f.reference.path for f in swapped if f.reference] == ["k.weight"]


def test_padding_rows(compare: Judge) -> None:
    mine, theirs = random(1, 20, 6), random(1, 20, 6, seed=1)
    mine.own[3] = 0
    mine.drawn.reshape(-1, 20, 6)[:, 3] = 0
    (finding,) = compare({"a.weight": mine}, {"a.weight": theirs}).findings
    assert finding.kind == "initial-value"
    assert "3 in the reference, none here" in finding.cause.text  # type: ignore[union-attr]
    theirs.own[3] = 0
    theirs.drawn.reshape(-1, 20, 6)[:, 3] = 0
    assert compare({"a.weight": mine}, {"a.weight": theirs}).findings == []


def test_a_checkpoint_that_was_not_loaded(compare: Judge) -> None:
    trained = 3 * np.random.RandomState(0).randn(2, 30, 30).astype(np.float32)
    mine = {f"{i}.weight": Parameter(w, loaded=True) for i, w in enumerate(trained)}
    theirs = {f"{i}.weight": random(0.1, 30, 30, seed=i, uniform=True) for i in range(2)}
    (finding,) = compare(mine, theirs).findings
    assert (finding.kind, finding.severity) == ("initial-value", "fault")
    assert "checkpoint" in finding.cause.text  # type: ignore[union-attr]
    alike = {f"{i}.weight": random(3, 30, 30, seed=i + 5) for i in range(2)}
    (finding,) = compare(mine, alike).findings
    assert finding.severity == "warning"
    loaded = {name: Parameter(p.own, loaded=True) for name, p in mine.items()}
    assert compare(mine, loaded).findings == []


def test_a_tied_parameter_is_judged_once(compare: Judge) -> None:
    mine = {"embed.weight": random(0.02, 20, 8, names=("head.weight",))}
    theirs = {"embed.weight": random(0.02, 20, 8, seed=1), "head.weight": random(0.3, 20, 8, seed=2)}
    pairs = [{"reference": "embed.weight", "candidate": n} for n in theirs]
    first, second = compare(mine, theirs, *pairs), compare(mine, theirs, *pairs[::-1])
    assert first.findings == []
    assert len(second.findings) <= 1


def test_stale_draws_are_not_believed(compare: Judge) -> None:
    mine = random(0.1, 64, 64)
    mine.drawn[:] *= 10
    assert compare({"a.weight": mine}, {"a.weight": random(0.1, 64, 64, seed=1)}).findings == []
