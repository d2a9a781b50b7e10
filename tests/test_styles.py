"""Scripts as people write them, in many styles: each pair is a correct migration, and matches."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, Parity

SAMPLE = {"gan", "amp_scaler", "custom_step_cell", "ddp", "fixed_scale", "functional_gradients", "workers"}
"""Those that always run; the others run with `-m full`."""

SAID = {
    "custom_step_cell": {("mode", "GRAPH_MODE"), ("mode", "device target Ascend")},
    "late_seed": {("seed", "seeds its generators")},
    "static_scaler": {("mode", "GRAPH_MODE"), ("mode", "ms.jit")},
}
"""Notes and warnings, by kind and words, that a style is to have."""

PRINTED = {
    "fixed_scale": ("reference: closing the log", "candidate: closing the log"),
    "workers": ("cleaned up",),
}
"""What a script prints in its `finally` block when it is stopped."""

PAIRS = [
    pytest.param(folder, id=folder.name, marks=[] if folder.name in SAMPLE else [pytest.mark.full])
    for folder in sorted(path.parent for path in (ROOT / "tests" / "styles").glob("*/ref.py"))
]


@pytest.mark.parametrize("folder", PAIRS)
def test_a_correct_migration_matches(folder: Path, parity: Parity) -> None:
    done = parity("compare", folder / "ref.py", folder / "ms.py", "--format", "json")
    found = done.document
    assert found["verdict"] == "match", found.get("headline", found)
    assert done.code == 0
    assert not [f for f in found["findings"] if f["severity"] == "fault"]
    for stage in ("forward", "loss", "backward", "optimizer"):
        assert found["stages"][stage]["compared"] > 0, stage
    for kind, words in SAID.get(folder.name, ()):
        assert any(f["kind"] == kind and words in f["message"] for f in found["findings"]), found["findings"]
    for line in PRINTED.get(folder.name, ()):
        assert line in done.err
