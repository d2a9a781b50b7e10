"""What judging two saved traces costs: against a NumPy sum over the same bytes, by number of events, and in memory.

The traces are made up: layers in a row whose outputs differ by rounding. Each size is judged in a process of its own,
after its files were read once, so that the yardstick and the judge both find them in the page cache.

    python benchmarks/judging.py [--events 1000 10000 50000] [--large 512]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from parity.model import CallEvent, Item, LayerInfo, Layers, Meta, ParameterInfo  # noqa: E402
from parity.noise import Noise, write_noise  # noqa: E402
from parity.trace import Trace, TraceWriter  # noqa: E402

LAYERS = 50


def write(path: Path, events: int, elements: int, candidate: bool) -> None:
    """A trace of so many calls, whose outputs hold so many float32 elements."""
    rng = np.random.default_rng(0)
    writer = TraceWriter(path)
    names = [f"layer{n}" for n in range(LAYERS)]
    layers, parameters, noise = [LayerInfo(LAYERS, "", "Net", root=True)], [], []
    for number, name in enumerate(names):
        ref = writer.put(np.full(3, number, np.float32))
        weight = f"{name}.weight"
        parameters.append(ParameterInfo(weight, name, "weight", (3,), "float32", True, False, [weight], ref, ref))
        layers.append(LayerInfo(number, name, "Linear", framework=True))
    rate = np.float32(1 + 2.0**-23)
    steps = max(1, events // LAYERS)
    values = rng.standard_normal(elements).astype(np.float32)
    for step in range(steps):
        for number, name in enumerate(names):
            values = np.roll(values, 1)
            output = (values * rate).astype(np.float32) if candidate else values.copy()
            output[0] = (step * LAYERS + number) / 2**16  # no two alike, and none that stands out
            event = CallEvent(2 * number, step, "train", name, number, 0, 2 * number + 1)
            event.outputs.append(Item("", number, writer.put(output)))
            writer.event(event)
            noise.append(Noise(step, "output", name, 0, "", 1e-7, 1.0))
    writer.layers(Layers(layers, parameters))
    how = {"how": "made up", "confidence": 1.0}
    pairs = [{"reference": f"{n}.weight", "candidate": f"{n}.weight", "transform": "same", **how} for n in names]
    nodes = [{"reference": [n], "candidate": [n], **how} for n in names]
    meta = Meta(framework="torch", steps=steps, complete=True)
    meta.mapping = {"pairs": pairs, "nodes": nodes, "agreed": LAYERS, "compared": LAYERS} if candidate else None
    writer.meta(meta)
    writer.finish()
    if not candidate:
        write_noise(path, noise)


def judged(folder: Path) -> None:
    """Judges in this process and prints the figures as JSON."""
    from parity.compare.accumulated import accumulated

    files = sorted(folder.rglob("*.safetensors"))
    maps = [np.memmap(file, np.uint8, "r") for file in files]
    usable = [m[: len(m) // 4 * 4].view(np.float32) for m in maps]
    with np.errstate(all="ignore"):
        [m.sum() for m in usable]
        start = time.perf_counter()
        [m.sum() for m in usable]
        yardstick = time.perf_counter() - start
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    reference, candidate = Trace(folder / "ref.trace"), Trace(folder / "cand.trace")
    opened = time.perf_counter() - start
    start = time.perf_counter()
    seen = accumulated(reference, candidate, SimpleNamespace(rtol=None, atol=None))
    seconds = time.perf_counter() - start
    assert seen.judged and not any(item.flagged for item in seen.judged), "rounding is no difference"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"yardstick": yardstick, "opened": opened, "judged": seconds, "peak": peak / 1024,
                      "places": len(seen.judged)}))  # fmt: skip


def measure(events: int, elements: int) -> dict[str, float]:
    """The figures of one size."""
    with tempfile.TemporaryDirectory(prefix="parity-judging-") as name:
        folder = Path(name)
        write(folder / "ref.trace", events, elements, False)
        write(folder / "cand.trace", events, elements, True)
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        done = subprocess.run(
            [sys.executable, __file__, "--judge", name], stdout=subprocess.PIPE, text=True, check=True
        )  # fmt: skip
        return {"bytes": size, **json.loads(done.stdout)}


def main() -> None:
    """Prints the table of sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, nargs="*", default=[1000, 10_000, 50_000])
    parser.add_argument("--large", type=int, default=512, help="MiB of the trace that bandwidth is measured on")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.judge:
        judged(given.judge)
        return
    large = measure(200, given.large * 2**20 // 4 // 200)
    print(f"bandwidth, {large['bytes'] / 2**20:.0f} MiB in 200 places: NumPy's sum {large['yardstick']:.3f} s,")
    print(f"  judging {large['judged']:.3f} s: {large['yardstick'] / large['judged']:.2f} of its speed,"
          f" {large['peak']:.0f} MiB more memory")  # fmt: skip
    for events in given.events:
        found = measure(events, 64)
        per = 1e6 * (found["opened"] + found["judged"]) / events
        print(f"{events:7} events: opened in {found['opened']:.2f} s, judged in {found['judged']:.2f} s,"
              f" {per:.0f} us each, {found['peak']:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
