"""The scoring and the measuring of the benchmarks, on made-up comparisons and traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from corpus import Variant, architectures, check, load
from detection import judge, summary, within
from effects import Key, effect, with_losses


def fault(**changes: Any) -> Variant:
    """Gives a fault at `net.bn`, found in the forward pass."""
    values: dict[str, Any] = {
        "architecture": "convnet",
        "name": "made-up",
        "kind": "norm-eps",
        "edits": (),
        "edits_ref": (),
        "stage": ("forward",),
        "candidate": ("net.bn",),
        "reference": ("features.1",),
        "names": {},
        "short": False,
        "why": "",
    }
    return Variant(**{**values, **changes})


def diverged(stage: str, candidate: str | None, reference: str | None) -> dict[str, Any]:
    """Gives the document of a comparison with one fault."""
    finding: dict[str, Any] = {"kind": "unexplained", "stage": stage, "severity": "fault"}
    for side, path in (("candidate", candidate), ("reference", reference)):
        finding[side] = None if path is None else {"path": path}
    return {"verdict": "diverged", "first": 0, "findings": [finding]}


@pytest.mark.parametrize(
    ("path", "accepted", "expected"),
    [
        ("net.bn", ["net.bn"], True),
        ("net.bn.gamma", ["net.bn"], True),
        ("net.bn2", ["net.bn"], False),
        ("net", ["net.bn"], False),
        ("", [""], True),
        ("net.bn", [""], False),
        (None, [""], False),
    ],
)
def test_within(path: str | None, accepted: list[str], expected: bool) -> None:
    """A place counts with all inside it, the root only by itself."""
    assert within(path, accepted) is expected


@pytest.mark.parametrize(
    ("returncode", "document", "expected"),
    [
        (1, diverged("forward", "net.bn", None), "first"),
        (1, diverged("forward", None, "features.1"), "first"),
        (1, diverged("forward", "net.conv", "features.0"), "misplaced"),
        (1, diverged("backward", "net.bn", "features.1"), "misplaced"),
        (0, {"verdict": "match", "first": None, "findings": []}, "missed"),
        (3, {"verdict": "inconclusive", "first": None, "findings": []}, "inconclusive"),
        (2, {"verdict": "error", "error": {"message": "no such file"}}, "error"),
    ],
)
def test_judge_fault(returncode: int, document: dict[str, Any], expected: str) -> None:
    """A fault counts as first only with an accepted stage and an accepted layer of either side."""
    assert judge(fault(), returncode, document)[0] == expected


def test_judge_benign() -> None:
    """A warning does not make a rewrite a false alarm, a fault does."""
    benign = fault(kind="")
    warning = {"verdict": "match", "first": None, "findings": [{"severity": "warning"}]}
    assert judge(benign, 0, warning)[0] == "clean"
    outcome, found = judge(benign, 1, diverged("forward", "net.bn", "features.1"))
    assert (outcome, found) == ("false alarm", "forward: unexplained at 'net.bn' / 'features.1'")


def test_effect_is_measured_where_it_begins() -> None:
    """The first tensor that differs counts, not the largest difference."""
    keys = [Key(0, "forward", path, 0, 0) for path in ("conv", "bn", "fc")]
    clean = {key: np.ones(4) for key in keys}
    faulty = {keys[0]: np.ones(4), keys[1]: np.full(4, 1.001), keys[2]: np.full(4, 9.0)}
    measured = effect(clean, faulty)
    assert measured.value == pytest.approx(1e-3)
    assert (measured.place, measured.bucket) == ("step 0 forward bn", "1e-4..1e-2")
    assert effect(clean, dict(clean)).bucket == "none"
    assert effect(clean, {keys[0]: np.ones(3), keys[2]: np.full(4, 2.0)}).place == "step 0 forward fc"


def test_losses_come_before_gradients() -> None:
    """The printed loss of each step is placed between its forward and its backward pass."""
    trace = {Key(step, phase, "fc", 0, 0): np.ones(1) for step in range(3) for phase in ("forward", "gradient")}
    merged = with_losses(trace, "step 0 loss 2.5\nstep: 1, loss is 2.25\n2 loss=2e-1\n3 loss: 1.0\n")
    assert [key.phase for key in merged] == ["forward", "loss", "gradient"] * 3
    assert [float(value) for key, value in merged.items() if key.phase == "loss"] == [2.5, 2.25, 0.2]


def test_corpus_is_sound() -> None:
    """Every edit applies exactly once, and the sample for CI has a fault and a rewrite of every architecture."""
    for architecture in architectures():
        variants = load(architecture)
        assert check(variants) == []
        assert {variant.benign for variant in variants if variant.short} == {True, False}


def test_summary_counts_by_effect() -> None:
    """A class without faults is shown with zeros."""
    totals = summary([])
    assert totals["faults"]["none"] == {"faults": 0, "detected": 0, "first": 0}
