"""What a captured step costs: its CPU time and peak memory against those of the same step without parity.

Both arms run one after the other in one call, with the environment that parity gives to scripts. The first step of
each run is left out (kernels are chosen, memory is gathered); the smallest of the others counts, because whatever else
the machine does only adds. A step ends in the script's own print, and the last one that is captured has none.

    python benchmarks/step_cost.py [resnet transformer] [--framework torch] [--steps 4] [--summary]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "GLOG_v": "3",
    "PYTHONPATH": str(HERE.parent),
}


class Cost(NamedTuple):
    """CPU seconds of a step, and the process's peak memory in MiB."""

    seconds: float
    peak: float


def measured(text: str) -> Cost:
    """Reads what a script printed."""
    lines = [line.split() for line in text.splitlines() if line.startswith("step ")]
    later = lines[1:] or lines
    return Cost(min(float(line[1]) for line in later), max(float(line[2]) for line in later) / 1024)


def run(words: list[str], folder: Path) -> Cost:
    """Runs a command and reads its steps from both of its streams."""
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **SETTINGS, "XDG_CACHE_HOME": str(folder)}, capture_output=True, text=True
    )
    text = done.stdout + done.stderr
    if "step " not in text:
        raise RuntimeError(f"{words} printed no step\n{text[-2000:]}")
    return measured(text)


def main() -> None:
    """Prints one line for each framework and model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=["resnet", "transformer"])
    parser.add_argument("--framework", action="append", choices=["torch", "mindspore"])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--summary", action="store_true", help="statistics only")
    given = parser.parse_args()
    print(f"{'':24}{'bare':>10}{'captured':>10}{'ratio':>7}   {'peak MiB':>9}{'more MiB':>9}")
    for framework in given.framework or ["torch", "mindspore"]:
        for model in given.models:
            script = str(HERE / "cost" / f"{framework}_models.py")
            with tempfile.TemporaryDirectory(prefix="parity-cost-") as name:
                folder = Path(name)
                steps = str(given.steps + 1)
                bare = run([sys.executable, script, model, steps], folder)
                words = [sys.executable, "-m", "parity", "capture", script, "-o", "x.trace", "--steps", steps]
                words += ["--no-noise", *(["--summary"] if given.summary else []), "--", model, steps]
                captured = run(words, folder)
            ratio = captured.seconds / bare.seconds
            print(
                f"{framework + ' ' + model:24}{bare.seconds:9.3f}s{captured.seconds:9.3f}s{ratio:7.2f}"
                f"   {bare.peak:9.0f}{captured.peak - bare.peak:9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
