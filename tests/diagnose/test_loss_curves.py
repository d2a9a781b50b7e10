"""Loss curves inside and outside the reference's own noise, and the symptoms of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written import Written

from parity.diagnose.symptoms import symptoms
from parity.diagnose.training import gap
from parity.document import Cause, Finding, Place
from parity.trace import Trace

STEPS = 40
BASE = [float(2 * np.exp(-0.05 * t)) for t in range(STEPS)]


def moved(growth: float, start: float = 1e-7) -> list[list[float]]:
    """Five runs that part from the undisturbed one at this rate, each up to where they are 1% off."""
    runs = []
    for number in range(5):
        run = []
        for step, loss in enumerate(BASE):
            run.append(loss * (1 + (number - 2) / 2 * start * growth**step))
            if abs(run[-1] - loss) >= 0.01 * loss:
                break
        runs.append(run)
    shortest = min(map(len, runs))
    return [run[:shortest] if len(run) > shortest else run for run in runs]


def test_within_noise() -> None:
    found = gap(BASE, [x * (1 + 1e-7) for x in BASE], moved(1.05), 1.2e-7)
    assert (found.left, found.horizon) == (None, None)
    assert found.ratio <= 1


def test_leaves_the_envelope() -> None:
    theirs = [x * (1 + (1e-4 if step >= 7 else 0.0)) for step, x in enumerate(BASE)]
    found = gap(BASE, theirs, moved(1.05), 1.2e-7)
    assert found.left == 7
    assert found.ratio > 100


def test_chaos_after_the_horizon_is_no_fault() -> None:
    theirs = [x * (1 + 1e-7 * 1.6**step) for step, x in enumerate(BASE)]
    found = gap(BASE, theirs, moved(1.6), 1.2e-7)
    assert found.left is None
    assert found.horizon is not None
    assert 20 <= found.horizon <= 26
    assert found.last > 1


def test_nan_leaves_at_once() -> None:
    assert gap(BASE, [BASE[0], float("nan"), *BASE[2:]], moved(1.05), 1.2e-7).left == 1


def healthy(folder: Path, name: str) -> Written:
    run = Written(folder, name)
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(8, 8))
    run.parameter("fc.weight", weight)
    for step in range(3):
        run.op(step, "relu", np.maximum(rng.normal(size=(4, 8)), 0))
        run.loss(step, 2.0 - 0.1 * step)
        gradient = 0.01 * rng.normal(size=(8, 8))
        run.update(step, {"fc.weight": gradient}, {"fc.weight": weight}, {"fc.weight": weight - 0.1 * gradient})
        weight = weight - 0.1 * gradient
    return run


def ill(folder: Path, name: str, what: str) -> Trace:
    run = Written(folder, name)
    rng = np.random.default_rng(2)
    weight = np.zeros((8, 8)) if what == "weight-zero" else rng.normal(size=(8, 8))
    run.parameter("fc.weight", weight)
    size = {"gradient-vanishing": 1e-12, "gradient-exploding": 1e6}.get(what, 0.01)
    rate = {"update-too-small": 1e-6, "update-too-large": 1e4, "weight-not-updated": 0.0}.get(what, 0.1)
    for step in range(30 if what == "loss-not-falling" else 3):
        x = run.source(step, rng.normal(size=(4, 8)))
        if what == "overflow":
            run.op(step, "log", np.full((4, 8), np.inf), (run.op(step, "masked_fill", np.full((4, 8), -np.inf), (x,)),))
        if what == "activation-saturated":
            run.op(step, "relu_", np.zeros((4, 8)), (x,))
        loss = {"loss-nonfinite": np.nan, "overflow": np.nan, "loss-zero": 0.0, "loss-not-falling": 2.0 + step}
        run.loss(step, loss.get(what, 2.0 - 0.1 * step))
        gradient = size * rng.normal(size=(8, 8))
        after = weight - rate * gradient
        run.update(step, {"fc.weight": gradient}, {"fc.weight": weight}, {"fc.weight": after})
        weight = after
    return run.trace()


@pytest.mark.parametrize(
    "what",
    [
        "loss-nonfinite", "loss-zero", "loss-not-falling", "overflow", "gradient-vanishing", "gradient-exploding",
        "weight-not-updated", "weight-zero", "update-too-small", "update-too-large", "activation-saturated",
    ],
)  # fmt: skip
def test_symptom(tmp_path: Path, what: str) -> None:
    well, sick = healthy(tmp_path, "well").trace(), ill(tmp_path, "sick", what)
    found = {f.kind: f for f in symptoms(well, sick, [])}
    assert what in found
    assert found[what].severity == "warning"
    assert {f.kind: f.severity for f in symptoms(sick, ill(tmp_path, "too", what), [])}[what] == "note"
    assert what not in {f.kind for f in symptoms(sick, well, [])}


def test_the_op_that_overflows_is_named(tmp_path: Path) -> None:
    found = {f.kind: f for f in symptoms(healthy(tmp_path, "well").trace(), ill(tmp_path, "sick", "overflow"), [])}
    assert found["overflow"].op == "log"
    assert found["overflow"].candidate == Place("layer", "run.py", 7)


def test_a_healthy_run_has_none(tmp_path: Path) -> None:
    assert symptoms(healthy(tmp_path, "one").trace(), healthy(tmp_path, "two").trace(), []) == []


def test_a_fault_takes_the_symptom_as_evidence(tmp_path: Path) -> None:
    place = Place("optimizer")
    fault = Finding(
        "no-update", "optimizer", "fault", "introduced", 0, None, place, place, None, None, None, "it does not update",
        Cause("no effect", 0.9),
    )  # fmt: skip
    sick = ill(tmp_path, "sick", "weight-not-updated")
    assert symptoms(healthy(tmp_path, "well").trace(), sick, [fault]) == []
    assert fault.cause is not None
    assert "fc.weight has a gradient and does not change in 3 updates" in fault.cause.evidence
