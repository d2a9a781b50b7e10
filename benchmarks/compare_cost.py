"""Measures what a whole comparison costs, as a ratio to the two bare scripts together.

    python benchmarks/compare_cost.py [--case CASE] [--runs 3]

Both arms run in turn under the same environment settings, the comparison with `--fresh`; the figure is the ratio of the
medians of the wall times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

CASES = Path(__file__).parents[1] / "cases"
ENVIRONMENT = {
    **os.environ,
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "GLOG_v": "3",
}


def seconds(command: list[str], folder: Path, expected: set[int]) -> float:
    """Wall time of one command.

    Raises:
        RuntimeError: It ended with another exit code than expected.
    """
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True)
    taken = time.perf_counter() - start
    if done.returncode not in expected:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return taken


def main() -> None:
    """Prints the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="lenet_clean")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    folder = CASES / args.case
    bare: list[float] = []
    compared: list[float] = []
    for _ in range(args.runs):
        bare.append(sum(seconds([sys.executable, script], folder, {0}) for script in ("ref.py", "ms.py")))
        compared.append(
            seconds([sys.executable, "-m", "parity", "compare", "--fresh", "ref.py", "ms.py"], folder, {0, 1})
        )
    middle = statistics.median(bare), statistics.median(compared)
    print(f"{args.case}: two bare scripts {middle[0]:.1f} s, comparison {middle[1]:.1f} s")
    print(f"ratio {middle[1] / middle[0]:.2f} (medians of {args.runs} runs)")


if __name__ == "__main__":
    main()
