"""Every shipped case gets the verdict and the findings that its `case.toml` asks for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Parity

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXITS = {"match": 0, "diverged": 1, "inconclusive": 3}
FULL = frozenset(
    [
        "accumulation_not_cleared", "data_drop_remainder_clean", "data_hwc_reshaped_clean", "data_label_offset_clean",
        "data_shuffle_default_clean", "dcgan_clean", "digits_evaluated_clean", "embedding_init_clean",
        "encoder_preln_clean", "finetune_clean", "finetune_conv_bias", "finetune_frozen", "finetune_no_decay",
        "finetune_not_optimized", "forecaster_generator_scale_clean", "functional_clean", "functional_softmax_axis",
        "graph_batchnorm_momentum",
        "lm_adamw_eps", "lm_clean", "lm_untied_head", "mint_leaky_slope", "reviews_keep_prob",
        "reviews_label_smoothing", "reviews_no_set_train", "reviews_warmup_late", "running_statistics_clean",
        "speaker_clip_after", "speaker_not_divided", "tagger_clean", "tagger_decay_on_norms", "unet_clean",
    ]
)  # fmt: skip
"""Cases that are like others in what they exercise."""
CASES = [
    pytest.param(path.parent, id=path.parent.name, marks=[pytest.mark.full] if path.parent.name in FULL else [])
    for path in sorted((ROOT / "cases").glob("*/case.toml"))
]


def arguments(case: dict[str, Any]) -> list[str]:
    """The words of the command line that a case asks for, after the two scripts."""
    words = ["--steps", str(case.get("steps", 3)), "--timeout", str(case.get("timeout", 300))]
    for side in ("reference", "candidate"):
        if own := case.get(f"{side}_args"):
            words += [f"--{side}-args", " ".join(f"'{word}'" for word in own)]
    return [*words, "--", *case.get("args", [])]


def fits(finding: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether a finding is what a case expects; a value is compared where the finding carries one."""
    stages = expected["stage"] if isinstance(expected["stage"], list) else [expected["stage"]]
    place = finding["candidate"] or {}
    if finding["stage"] not in stages or place.get("path") != expected["candidate"]:
        return False
    if finding["kind"] != expected.get("kind", finding["kind"]):
        return False
    for side, value in expected.get("value", {}).items():
        found = (finding[side] or {}).get("value")
        if found is not None and found != value:
            return False
    return True


@pytest.mark.parametrize("folder", CASES)
def test_case(folder: Path, parity: Parity, request: pytest.FixtureRequest) -> None:
    case = tomllib.loads((folder / "case.toml").read_text(encoding="utf-8"))
    if case.get("xfail"):
        request.applymarker(pytest.mark.xfail(reason=case["xfail"]))
    scripts = (folder / case["reference"], folder / case["candidate"])
    done = parity("compare", *scripts, "--format", "json", *arguments(case))
    found = done.document
    assert found["verdict"] == case["verdict"], found.get("headline", found)
    assert done.code == EXITS[case["verdict"]]
    faults = [f for f in found["findings"] if f["severity"] == "fault" and f["status"] != "propagated"]
    expected = case.get("expect", [])
    for wanted in expected:
        assert any(fits(finding, wanted) for finding in faults), f"{wanted} is not among {faults}"
    if expected:
        assert fits(found["findings"][found["first"]], expected[0]), found["headline"]
    if case["verdict"] == "match":
        assert faults == []
        assert found["first"] is None


def test_there_are_cases() -> None:
    folders = (ROOT / "cases").glob("*/case.toml")
    verdicts = [tomllib.loads(path.read_text(encoding="utf-8"))["verdict"] for path in folders]
    assert len(verdicts) >= 10
    assert verdicts.count("match") >= 4
