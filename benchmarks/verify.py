"""Shows that the corpus is what it says: clean pairs and benign rewrites compute the same as their references.

    python benchmarks/verify.py [--architecture NAME ...] [--variant NAME ...] [--jobs 2]

The reference's initial weights are copied into the MindSpore script by the names in `names.toml`, both read the same
batches and dropout masks, and three losses must agree within 1e-5 (relative), the gradients of the first step within
1e-4. The initial values that each script drew by itself must have the same standard deviation. Nothing of the tool
under test is used.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from corpus import STEPS, Variant, architectures, layer_names, load
from effects import Array, ProbeError, distance, losses, probe, read_trace

LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
INIT_TOLERANCE = 0.2
"""Of the standard deviation of two drawn tensors; 300 uniform numbers have it within 5 % (two sigma)."""

_LEAVES = {
    "weight": ("weight", "gamma", "embedding_table"),
    "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}
_SLICED = re.compile(r"^(?P<layer>.*)(?P<rows>\[\d+:\d+\])$")


@dataclass
class Result:
    """What the verification of one variant measured; empty `problems` means that it holds."""

    label: str
    loss: float = 0.0
    gradient: float = 0.0
    problems: list[str] = field(default_factory=list)


def targets(parameter: str, names: Mapping[str, str]) -> list[str]:
    """Names the candidate's parameters that a reference's parameter may be, by its layer's counterpart."""
    layer, _, leaf = parameter.rpartition(".")
    if parameter in names:
        return [names[parameter]]
    if layer not in names:
        return []
    match = _SLICED.match(names[layer])
    base, rows = (match["layer"], match["rows"]) if match else (names[layer], "")
    return [f"{base}.{name}{rows}".lstrip(".") for name in _LEAVES.get(leaf, (leaf,))]


def by_rows(reference: Mapping[str, Array], names: Mapping[str, str]) -> Iterator[tuple[str, Array]]:
    """Cuts the reference's parameters where `names` pairs ranges of their rows, `layer[a:b]`, with several layers."""
    for key, value in reference.items():
        layer, _, leaf = key.partition("|")[2].rpartition(".")
        ranges = [match for match in map(_SLICED.match, names) if match and match["layer"] == layer]
        if not ranges:
            yield key, value
        for match in ranges:
            start, stop = (int(number) for number in match["rows"][1:-1].split(":"))
            yield f"{key.partition('|')[0]}|{match[0]}.{leaf}", value[start:stop]


def verify(variant: Variant) -> Result:
    """Runs both scripts of one benign variant and compares them."""
    result = Result(variant.label)
    names = {**layer_names(variant.architecture), **variant.names}
    with tempfile.TemporaryDirectory(prefix="parity-verify-") as name:
        folder = Path(name)
        variant.write(folder)
        try:
            expected = losses(probe(folder / "ref.py", folder / "ref.npz", module="probe_torch.py"))
            with np.load(folder / "ref.npz") as archive:
                reference = dict(by_rows({key: archive[key] for key in archive.files}, names))
            weights = {
                target: value
                for key, value in reference.items()
                if key.startswith("initial|")
                for target in targets(key.removeprefix("initial|"), names)
            }
            np.savez(folder / "weights.npz", **weights)
            actual = losses(probe(folder / "ms.py", folder / "ms.npz", folder / "weights.npz"))
            probe(folder / "ms.py", folder / "own.npz")
        except ProbeError as error:
            result.problems.append(str(error))
            return result
        applied = _of_first_step(folder / "ms.npz", "applied")
        own = _of_first_step(folder / "own.npz", "initial")
    _compare_losses(expected, actual, result)
    _compare_tensors(reference, applied, own, names, result)
    return result


def _of_first_step(path: Path, phase: str) -> dict[str, Array]:
    return {key.path: value for key, value in read_trace(path).items() if key.step == 0 and key.phase == phase}


def _compare_losses(expected: list[float], actual: list[float], result: Result) -> None:
    if len(expected) != STEPS or len(actual) != STEPS:
        result.problems.append(f"{len(expected)} and {len(actual)} losses printed, {STEPS} needed")
        return
    result.loss = max(abs(b - a) / abs(a) for a, b in zip(expected, actual, strict=True))
    if not result.loss <= LOSS_TOLERANCE:
        result.problems.append(f"losses {actual} are not {expected}")


def _compare_tensors(
    reference: Mapping[str, Array],
    applied: Mapping[str, Array],
    own: Mapping[str, Array],
    names: Mapping[str, str],
    result: Result,
) -> None:
    for key, value in reference.items():
        phase, _, parameter = key.partition("|")
        if parameter.endswith("num_batches_tracked") or names.get(parameter) == "":
            continue
        found = [target for target in targets(parameter, names) if _rows(own, target) is not None]
        if len(found) != 1:
            result.problems.append(f"{parameter} has {len(found)} counterparts: {targets(parameter, names)}")
        elif phase == "gradient":
            actual = _rows(applied, found[0])
            error = distance(value, actual) if actual is not None else np.inf
            # A gradient that is 0 in exact arithmetic (a bias before a BatchNorm) is rounding on both sides.
            if np.abs(value).max() > 1e-6:
                result.gradient = max(result.gradient, error)
                if not error <= GRADIENT_TOLERANCE:
                    result.problems.append(f"the gradient of {parameter} differs by {error:.1e}")
        else:
            drawn = _rows(own, found[0])
            assert drawn is not None
            if drawn.shape != value.shape:
                result.problems.append(f"{parameter} is {value.shape}, {found[0]} is {drawn.shape}")
            elif abs(drawn.std() - value.std()) > INIT_TOLERANCE * value.std() + 1e-6 and value.size >= 300:
                result.problems.append(f"{parameter} starts with std {value.std():.4f}, {found[0]} {drawn.std():.4f}")


def _rows(arrays: Mapping[str, Array], target: str) -> Array | None:
    match = _SLICED.match(target)
    if not match:
        return arrays.get(target)
    array = arrays.get(match["layer"])
    start, stop = (int(number) for number in match["rows"][1:-1].split(":"))
    return None if array is None else array[start:stop]


def main() -> int:
    """Verifies what the command line names; gives 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="append", choices=architectures())
    parser.add_argument("--variant", action="append", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    variants = [
        variant
        for architecture in args.architecture or architectures()
        for variant in load(architecture)
        if variant.benign and (not args.variant or variant.name in args.variant)
    ]
    failed = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for result in pool.map(verify, variants):
            failed += bool(result.problems)
            status = "FAIL" if result.problems else "ok"
            print(f"{status:4} {result.label:48} loss {result.loss:.1e}  gradients {result.gradient:.1e}", flush=True)
            for problem in result.problems:
                print(f"     {problem}")
    print(f"{len(variants) - failed} of {len(variants)} hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
