"""Calls that choose a model's mode, by the script's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.capture.mode_calls import mode_calls
from parity.capture.source import Source


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model.train()\nmodel.eval()", {"train": 1, "eval": 2}),
        ("net.set_train()\nnet.set_train(True)", {"train": 1}),
        ("net.set_train(True)\nnet.set_train(False)", {"train": 1, "eval": 2}),
        ("net.set_train(mode=False)", {"eval": 1}),
        ("def run(net, training):\n    net.set_train(training)", {"train": 2, "eval": 2}),
        ("model = Model(net)\nmodel.train(2, data)\nmodel.eval(data)", {"train": 2, "eval": 2}),
        ("eval('1')\ntrain()", {}),
        ("def broken(", {}),
    ],
)
def test_calls(tmp_path: Path, text: str, found: dict[str, int]) -> None:
    script = tmp_path / "script.py"
    script.write_text(text, encoding="utf-8")
    assert mode_calls(Source(script)) == {kind: ("script.py", line) for kind, line in found.items()}
