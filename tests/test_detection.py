"""The detection benchmark's fixed sample: one fault and one benign rewrite of each architecture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "detection.py"


def test_short_sample(tmp_path: Path) -> None:
    """Every fault of the sample is named first at its place, and no rewrite alarms."""
    scores = tmp_path / "scores.json"
    command = [sys.executable, str(BENCHMARK), "--short", "--jobs", "1", "--json", str(scores)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    outcomes = Counter(row["outcome"] for row in json.loads(scores.read_text())["scores"])
    assert outcomes.keys() == {"first", "clean"}
    assert min(outcomes.values()) >= 10
