"""The row of a table that PyTorch does not train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written import Written

from parity.diagnose.padding_rows import name_padding
from parity.document import Finding, Place
from parity.model import LayerInfo, Layers, Meta
from parity.trace import Trace


def table(folder: Path, name: str, gradient: np.ndarray, padding: int | None) -> Trace:
    side = Written(folder, name)
    side.gradients(0, 0, {"embed.weight": gradient})
    layer = LayerInfo(0, "embed", "Embedding", "s.py", 1, {"padding_idx": padding}, [], True)
    side.writer.layers(Layers([layer], []))
    side.writer.meta(Meta(framework="torch", steps=1, complete=True))
    side.writer.finish()
    return Trace(side.path)


@pytest.mark.parametrize(
    ("padding", "changed", "named"),
    [(2, [2], True), (None, [2], False), (2, [2, 4], False), (1, [2], False)],
    ids=["the padding row", "no padding", "another row too", "another row"],
)
def test_only_the_padding_row(tmp_path: Path, padding: int | None, changed: list[int], named: bool) -> None:
    gradient = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    gradient[2] = 0.0
    other = gradient.copy()
    other[changed] += 0.5
    reference = table(tmp_path, "reference", gradient, padding)
    candidate = table(tmp_path, "candidate", other, padding)
    places = [Place("embed.weight", "s.py", 1), Place("embed.weight", "s.py", 1)]
    finding = Finding("unexplained", "backward", "fault", "introduced", 0, None, *places, 0.1, 1e-8, None, "differs")
    name_padding([finding], reference, candidate)
    assert (finding.kind == "padding-idx") is named
    assert (finding.fix is not None) is named
