"""Measures what following a long training costs, as a ratio to the two bare runs of as many steps.

    python benchmarks/train_cost.py [--steps 200]

The model is the LeNet of `cases/lenet_clean`. The figure is the wall time of the two recorded runs over that of the two
bare ones; the forced run of the sampled steps, the reference's runs with moved weights and the judgement are printed
beside it, and the peak memory of the processes, which must not grow with the steps.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys

from compare_cost import CASES, ENVIRONMENT, seconds

PER_EPOCH = 6
"""Batches that the case's loaders give in an epoch."""


def main() -> None:
    """Prints the times, their ratio and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    folder = CASES / "lenet_clean"
    epochs = str(-(-steps // PER_EPOCH))
    words = {"ref.py": ["--epochs", epochs], "ms.py": ["--epoch_size", epochs]}
    bare = [seconds([sys.executable, script, *own], folder, {0}) for script, own in words.items()]
    own = ["--reference-args", " ".join(words["ref.py"]), "--candidate-args", " ".join(words["ms.py"])]
    command = [sys.executable, "-m", "parity", "compare", "--fresh", "-v", "--train", str(steps), *own, *words]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    times = re.search(r"^seconds: (.*)$", done.stderr, re.MULTILINE)
    if times is None:
        raise RuntimeError(f"the comparison ended with {done.returncode}: {done.stderr[-500:]}")
    parts = {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+)", times[1])}
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{steps} steps: bare {bare[0]:.1f} and {bare[1]:.1f} s; {times[1]}; exit code {done.returncode}")
    ratio = (parts["reference"] + parts["candidate"]) / sum(bare)
    print(f"ratio of the recorded runs {ratio:.2f}; peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
