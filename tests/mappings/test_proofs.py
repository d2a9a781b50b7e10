"""The tables against the installed frameworks: every signature, and a sample of the proofs; all of them with `full`."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from parity import mapping
from parity.proofs import initial
from parity.proofs.check import Outcome, Task, Worker, tasks
from parity.proofs.values import Array, array
from parity.tables import check_tables

SAMPLE = 40
"""Proofs in an ordinary run: every n-th, so that each family has some."""


def problems(listed: list[Task]) -> list[str]:
    with Worker() as worker:
        outcomes = [worker.prove(task) for task in listed]
    return [f"{' -> '.join(o.task.entry.names)} [{o.task.what}]: {p}" for o in outcomes for p in o.problems]


def test_every_signature() -> None:
    assert problems(tasks(mapping.load(), numeric=False)) == []


def runnable() -> list[Task]:
    return [t for t in tasks(mapping.load()) if t.what != "signature" and t.entry.cpu is None]


def test_a_sample_of_the_proofs() -> None:
    listed = runnable()
    assert problems(listed[:: max(len(listed) // SAMPLE, 1)]) == []


@pytest.mark.full
def test_every_proof() -> None:
    assert problems([t for t in tasks(mapping.load()) if t.what != "signature"]) == []


def test_check_prints_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ["mindspore.nn.LayerNorm: epsilon is 1e-07 by default, the entry says 1e-06 by default"]

    def prove(self: Worker, task: Task) -> Outcome:
        return Outcome(task, wrong if task.entry.candidate == "mindspore.nn.LayerNorm" else [])

    monkeypatch.setattr(Worker, "prove", prove)
    written: list[str] = []
    code = check_tables(["normalization"], ["torch.nn.LayerNorm"], False, "text", written.append, written.append)
    assert code == 1 and "the entry says 1e-06" in written[-1] and "1 have changed" in written[-1]


@pytest.mark.full
def test_a_wrong_entry_is_refused() -> None:
    """Each kind of claim is falsified in a copy of an entry, and the proof must say so."""
    from parity.proofs.prove import Sides
    from parity.proofs.signatures import problems as of_signature

    layer_norm = next(e for e in mapping.find("torch.nn.LayerNorm") if e.candidate == "mindspore.nn.LayerNorm")
    rows = [
        msgspec.structs.replace(p, candidate_default=1e-6) if p.candidate == "epsilon" else p
        for p in layer_norm.parameters
    ]
    wrong = msgspec.structs.replace(layer_norm, parameters=rows)
    assert list(of_signature(wrong, "candidate")) == [
        "mindspore.nn.LayerNorm: epsilon is 1e-07 by default, the entry says 1e-06 by default"
    ]
    calls = [msgspec.structs.replace(row, candidate="input") for row in layer_norm.call]
    assert list(of_signature(msgspec.structs.replace(layer_norm, call=calls), "candidate")) == [
        "mindspore.nn.LayerNorm: the call takes (input_x), the entry says (input)"
    ]
    lstm = next(e for e in mapping.find("mindspore.nn.LSTM") if e.candidate == "mindspore.nn.LSTM")
    calls = [msgspec.structs.replace(row, candidate_default=0) if row.candidate == "hx" else row for row in lstm.call]
    assert list(of_signature(msgspec.structs.replace(lstm, call=calls), "candidate")) == [
        "mindspore.nn.LSTM: hx of the call is None by default, the entry says 0 by default"
    ]
    sides = Sides()
    norm = next(e for e in mapping.find("torch.nn.BatchNorm2d") if e.candidate == "mindspore.nn.BatchNorm2d")
    rows = [msgspec.structs.replace(p, transform="same") if p.reference == "momentum" else p for p in norm.parameters]
    found = sides.problems(msgspec.structs.replace(norm, parameters=rows), norm.proof[0])
    assert [each.partition(" after")[0] for each in found] == ["running_mean", "running_var"]
    embedding = next(e for e in mapping.find("torch.nn.Embedding") if e.candidate == "mindspore.nn.Embedding")
    claims = [msgspec.structs.replace(i, candidate="normal(0, 1)") for i in embedding.initializers]
    found = list(sides.initializers(msgspec.structs.replace(embedding, initializers=claims)))
    assert any("deviation 0.0" in each and "not 1" in each for each in found)


@pytest.mark.full
def test_a_worker_that_dies_is_started_again() -> None:
    entry = next(e for e in mapping.find("torch.nn.Identity") if e.candidate == "mindspore.nn.Identity")
    with Worker() as worker:
        process = worker._running()
        process.kill()
        process.wait()
        assert worker.prove(Task(entry, "signature")).problems == []


def test_tensors_are_drawn_from_their_description() -> None:
    generator = np.random.default_rng(0)

    def drawn(text: str) -> Array:
        made = array(text, generator)
        assert made is not None
        return made

    assert drawn("f32[2, 3]").values.shape == (2, 3) and drawn("f32[]").values.shape == ()
    between = drawn("f32[100]{2..3}").values
    assert between.min() >= 2 and between.max() < 3
    assert set(drawn("i64[50]{0..3}").values) == {0, 1, 2}
    assert drawn("f32=[1, 2.5]").values.tolist() == [1, 2.5]
    assert np.allclose(drawn("prob[4, 5]").values.sum(-1), 1)
    assert array("mean", generator) is None and array("f99[2]", generator) is None


@pytest.mark.parametrize(
    ("spec", "draw", "fits"),
    [
        ("normal(0, 0.01)", lambda g: g.normal(0, 0.01, 5000), True),
        ("normal(0, 0.01)", lambda g: g.normal(0, 0.02, 5000), False),
        ("normal(0, 1)", lambda g: g.uniform(-np.sqrt(3), np.sqrt(3), 5000), False),
        ("uniform(-1/sqrt(fan_in), 1/sqrt(fan_in))", lambda g: g.uniform(-0.5, 0.5, 5000), True),
        ("uniform(-1/sqrt(fan_in), 1/sqrt(fan_in))", lambda g: g.uniform(-0.6, 0.6, 5000), False),
        ("kaiming_uniform(sqrt(5))", lambda g: g.uniform(-0.5, 0.5, 5000), True),
        ("zeros", lambda g: np.zeros(10), True),
        ("zeros", lambda g: np.full(10, 1e-9), False),
        ("truncated_normal(0, 1, -2, 2)", lambda g: np.clip(g.normal(0, 0.88, 5000), -2, 2), True),
        ("random", lambda g: np.ones(10), False),
    ],
)
def test_claims_of_initial_values(spec: str, draw: object, fits: bool) -> None:
    values = draw(np.random.default_rng(1))  # type: ignore[operator]
    claim = initial.claim(spec, (8, 4), initial.fans((8, 4)), {})
    assert (list(initial.disagreements(values, claim)) == []) is fits
