"""What is done to gradients before the optimizer is told from the records of one side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from written import Written

from parity.compare.faults import Judged
from parity.diagnose.optimization.gradients import (
    Clip,
    Treated,
    clipping,
    name_scaled_losses,
    processing_cause,
    treated,
)
from parity.diagnose.optimization.recorded import Calls
from parity.document import Finding
from parity.measured import Measured
from parity.trace import Trace

Gradients = dict[str, np.ndarray]
Treatment = Callable[[list[Gradients]], Gradients]
SHAPES = {"a.weight": (6, 5), "b.weight": (4, 6)}


def summed(passes: list[Gradients]) -> Gradients:
    return {name: np.sum([p[name] for p in passes], axis=0) for name in SHAPES}


def by_norm(most: float) -> Treatment:
    def clip(passes: list[Gradients]) -> Gradients:
        raw = summed(passes)
        norm = np.sqrt(sum(np.sum(g**2) for g in raw.values()))
        return {name: g * min(1.0, most / norm) for name, g in raw.items()}

    return clip


def each_by_norm(most: float) -> Treatment:
    return lambda passes: {n: g * min(1.0, most / np.linalg.norm(g)) for n, g in summed(passes).items()}


def by_value(most: float) -> Treatment:
    return lambda passes: {n: np.clip(g, -most, most) for n, g in summed(passes).items()}


def times(factor: float) -> Treatment:
    return lambda passes: {n: factor * g for n, g in summed(passes).items()}


def written(folder: Path, name: str, treatment: Treatment, passes: int = 1, scale: float = 1.0) -> Trace:
    """Three steps in which gradients are treated so; `scale` multiplies the loss, unseen."""
    rng = np.random.default_rng(5)
    side = Written(folder, name)
    for step in range(3):
        made = [{n: scale * rng.normal(size=shape) for n, shape in SHAPES.items()} for _ in range(passes)]
        for number, gradients in enumerate(made):
            side.gradients(step, number, gradients)
        nothing = {n: np.zeros(shape) for n, shape in SHAPES.items()}
        side.update(step, treatment(made), nothing, nothing)
    return side.trace(loss_scale=scale != 1.0)


def steps(trace: Trace) -> list[Treated]:
    from parity.model import OptimizerEvent

    return [treated(trace, event) for event in trace.of(OptimizerEvent)]


@pytest.mark.parametrize(
    ("treatment", "clip"),
    [
        (summed, None),
        (times(0.5), None),
        (by_norm(1.5), Clip("global norm", 1.5)),
        (by_norm(1000.0), None),
        (each_by_norm(0.5), Clip("norm", 0.5)),
        (by_value(0.25), Clip("value", 0.25)),
    ],
)
def test_clipping(tmp_path: Path, treatment: Treatment, clip: Clip | None) -> None:
    assert clipping(steps(written(tmp_path, "run", treatment))) == clip


def cause(
    folder: Path, mine: Treatment, theirs: Treatment, factor: float, passes: int = 1, scale: float = 1.0, step: int = 0
) -> str:
    """The slug and the words for a gradient that is `factor` times the reference's."""
    from parity.model import OptimizerEvent

    reference = written(folder, "reference", mine, passes)
    candidate = written(folder, "candidate", theirs, passes, scale)
    calls = Calls(reference.of(OptimizerEvent), candidate.of(OptimizerEvent), {n: n for n in SHAPES})
    records = [Measured(step, "optimizer", "given", n, 0, "", "optimizer", -1, factor=factor) for n in SHAPES]
    kind, found = processing_cause([Judged(r, 1e-7, 100.0, True) for r in records], calls, reference, candidate)
    return f"{kind}: {found.text}"


def test_clipping_is_forgotten(tmp_path: Path) -> None:
    text = cause(tmp_path, by_norm(1.5), summed, 3.0)
    assert text.startswith("clipping")
    assert "not clipped, in the reference clipped to a global norm of 1.5" in text


def test_clipping_to_another_norm(tmp_path: Path) -> None:
    text = cause(tmp_path, by_norm(1.5), by_norm(3.0), 2.0)
    assert "clipped to a global norm of 3, in the reference clipped to a global norm of 1.5" in text


def test_clipped_before_unscaling(tmp_path: Path) -> None:
    def early(passes: list[Gradients]) -> Gradients:
        return {name: g / 1024 for name, g in by_norm(1.5)(passes).items()}

    text = cause(tmp_path, by_norm(1.5), early, 1 / 1024, scale=1024.0)
    assert text.startswith("clipping")
    assert "scaled by 1024, before they are unscaled" in text


def test_scale_is_not_undone(tmp_path: Path) -> None:
    assert cause(tmp_path, summed, summed, 128.0, scale=128.0).startswith("loss-scale: the loss scale is not undone")


def test_sum_of_passes(tmp_path: Path) -> None:
    text = cause(tmp_path, times(1 / 3), summed, 3.0, passes=3)
    assert text.startswith("accumulation: the gradients of 3 backward passes are summed")


def test_only_the_last_pass(tmp_path: Path) -> None:
    text = cause(tmp_path, summed, lambda passes: passes[-1], 0.4, passes=3)
    assert text.startswith("accumulation: the optimizer is given the gradients of the last of 3 backward passes")


@pytest.mark.parametrize(("forgetful", "side"), [(0, "the reference's"), (1, "the candidate's")])
def test_gradients_that_are_never_cleared(tmp_path: Path, forgetful: int, side: str) -> None:
    kept = {name: np.zeros(shape) for name, shape in SHAPES.items()}

    def added(passes: list[Gradients]) -> Gradients:
        for name, gradient in summed(passes).items():
            kept[name] = kept[name] + gradient
        return kept.copy()

    treatments = (added, summed) if forgetful == 0 else (summed, added)
    text = cause(tmp_path, *treatments, 1.5, passes=2, step=1)
    assert text.startswith(f"accumulation: {side} gradients hold those of the step before")


def test_some_factor(tmp_path: Path) -> None:
    assert cause(tmp_path, summed, times(0.999), 0.999).startswith("gradient-scale")


def clipped_without_epsilon(most: float, epsilon: float) -> Treatment:
    def clip(passes: list[Gradients]) -> Gradients:
        raw = summed(passes)
        norm = np.sqrt(sum(np.sum(g**2) for g in raw.values()))
        return {name: g * min(1.0, most / (norm + epsilon)) for name, g in raw.items()}

    return clip


def test_the_epsilon_of_clipping_has_its_own_name(tmp_path: Path) -> None:
    norm = 7.0
    text = cause(tmp_path / "1", clipped_without_epsilon(0.1, 1e-6), clipped_without_epsilon(0.1, 0.0), 1 + 1e-6 / norm)
    assert text.startswith("clip-epsilon")
    same = clipped_without_epsilon(0.1, 0.0)
    assert not cause(tmp_path / "2", same, same, 1 + 1e-4).startswith("clip-epsilon")
    assert not cause(tmp_path / "3", summed, summed, 1 + 1e-6 / norm).startswith("clip-epsilon")


@pytest.mark.parametrize(
    ("owners", "kind"), [(("a.weight", "a.weight"), "accumulation"), (("a.weight", "b.weight"), "unexplained")]
)
def test_passes_of_two_models_do_not_add_up(tmp_path: Path, owners: tuple[str, str], kind: str) -> None:
    side = Written(tmp_path, "candidate")
    for number, name in enumerate(owners):
        side.gradients(0, number, {name: np.ones(SHAPES[name])})
    record = Measured(0, "loss", "loss", "", 0, "", "", -1, error=1.0, scale=1.0, factor=2.0)
    finding = Finding("unexplained", "loss", "fault", "introduced", 0, None, None, None, 1.0, 1e-7, None, "differs")
    name_scaled_losses([finding], [Judged(record, 1e-7, 1e7, True)], side.trace())
    assert finding.kind == kind
