"""Running statistics that diverge, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parity.compare.faults import Judged
from parity.diagnose.metrics import explain_evaluation, statistics
from parity.diagnose.names import Names
from parity.document import Finding, Place
from parity.measured import Measured
from parity.model import EVALUATION, LayerInfo, Layers, Meta, ParameterInfo
from parity.trace import Trace, TraceWriter


def names(path: Path, type_: str, mean: str, variance: str) -> Names:
    writer = TraceWriter(path)
    parameters = [
        ParameterInfo(f"bn.{role}", "bn", role, (4,), "float32", False, True, [f"bn.{role}"])
        for role in (mean, variance)
    ]
    writer.layers(Layers([LayerInfo(0, "bn", type_, "s.py", 7, {}, [], True)], parameters))
    writer.meta(Meta(complete=True))
    writer.finish()
    return Names(Trace(path))


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Names, Names]:
    return (
        names(tmp_path / "reference.trace", "BatchNorm2d", "running_mean", "running_var"),
        names(tmp_path / "candidate.trace", "BatchNorm2d", "moving_mean", "moving_variance"),
    )


def judged(role: str = "var", step: int = 0, flagged: bool = True, **alternatives: float) -> Judged:
    mine, theirs = f"bn.running_{role}", f"bn.moving_{'variance' if role == 'var' else 'mean'}"
    record = Measured(step, "metrics", "buffer", mine, 0, "", theirs, -1, error=0.1, scale=1.0)
    record.alternatives = {name.replace("_", "-"): value for name, value in alternatives.items()}
    return Judged(record, 1e-7, 1e6, flagged)


def test_agreeing_statistics_say_nothing(sides: tuple[Names, Names]) -> None:
    assert statistics([judged(flagged=False)], [], *sides) == []


def test_one_finding_a_layer(sides: tuple[Names, Names]) -> None:
    (finding,) = statistics([judged("mean"), judged("var"), judged("var", step=1)], [], *sides)
    assert (finding.kind, finding.stage, finding.severity, finding.step) == (
        "running-statistics",
        "metrics",
        "fault",
        0,
    )
    assert finding.candidate is not None and finding.candidate.path == "bn.moving_mean"


@pytest.mark.parametrize(
    ("alternatives", "kind", "words"),
    [
        (
            {"momentum": 0.01, "momentum_rest": 1e-8, "variance": 0.2, "variance_rest": 0.3, "own_momentum": 0.1},
            "norm-momentum", "weight of 0.01",
        ),
        ({"momentum": 0.1, "momentum_rest": 0.2, "variance": 1 - 1 / 32, "variance_rest": 1e-7}, "running-statistics",
         "biased variance of 32 values"),
        ({"momentum": 0.1, "momentum_rest": 0.2, "variance": 1 + 1 / 31, "variance_rest": 1e-7}, "running-statistics",
         "unbiased variance, where the reference takes the biased"),
        ({"momentum": 0.1, "momentum_rest": 0.2, "variance": 0.7, "variance_rest": 0.2}, "running-statistics",
         "updated differently"),
    ],
)  # fmt: skip
def test_causes(sides: tuple[Names, Names], alternatives: dict[str, float], kind: str, words: str) -> None:
    (finding,) = statistics([judged(**alternatives)], [], *sides)
    assert finding.kind == kind
    assert finding.cause is not None and words in finding.cause.text
    if kind == "norm-momentum":
        assert finding.fix == "nn.BatchNorm2d(..., momentum=0.9)"


def test_statistics_that_move_in_evaluation_mode(sides: tuple[Names, Names]) -> None:
    (finding,) = statistics([judged(step=EVALUATION)], [], *sides)
    assert finding.step is None
    assert "in evaluation mode" in finding.message
    assert finding.cause is not None and "changes the running statistics" in finding.cause.text


def test_a_layer_that_diverges_explains_its_statistics(sides: tuple[Names, Names]) -> None:
    found: Any = Finding(
        "unexplained", "forward", "fault", "introduced", 0, None, Place("bn"), Place("bn"), 1.0, 1.0, 1.0, ""
    )
    assert statistics([judged()], [found], *sides) == []


def test_evaluation_mode_is_named() -> None:
    found = Finding("unexplained", "metrics", "fault", "introduced", None, "Dropout", None, None, 1.0, 1.0, 1.0, "")
    explain_evaluation(found, "", "Dropout")
    assert found.kind == "evaluation-mode"
    assert found.cause is not None and "dropout stays active" in found.cause.text
    explain_evaluation(found, "BatchNorm2d", None)
    assert "running statistics" in found.cause.text


def test_another_number_of_calls_is_a_warning(sides: tuple[Names, Names]) -> None:
    (finding,) = statistics([judged(calls=2.0, own_calls=1.0)], [], *sides)
    assert finding.severity == "warning"
    assert finding.cause is not None and "2 times a step in training mode, the reference 1" in finding.cause.text
