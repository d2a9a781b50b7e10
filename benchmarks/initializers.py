"""False alarms and power of the stage `initialization`, measured on the frameworks' own initializers.

    python benchmarks/initializers.py [RUNS]

For each of RUNS (60) seeds, layers of PyTorch and of MindSpore that are initialized alike are constructed in this
process, their initializers are drawn again as a capture does, and the pairs judged at the stage's own level. Then
pairs that differ, at several numbers of draws.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mindspore
import torch
from mindspore.common import initializer as ms

from parity.capture.frameworks.mindspore_initial import Fills
from parity.capture.frameworks.torch_initial import WHOLE, Provenance, drawing
from parity.diagnose.initial.distributions import Sample, difference, holm, sample_of
from parity.diagnose.initialization import LEVEL

VALUES = 32768


def torch_sample(make: Any, seed: int, values: int = VALUES) -> Sample:
    """Draws what `make()`, a parameter, is filled with."""
    torch.manual_seed(seed)
    provenance = Provenance(lambda: (None, None))
    whole = {name: getattr(torch.nn.init, name) for name in WHOLE}
    provenance.start()
    for name, function in whole.items():
        setattr(torch.nn.init, name, provenance.filling(function))
    parameter = make()
    provenance.stop()
    for name, function in whole.items():
        setattr(torch.nn.init, name, function)
    origin = provenance.origin(parameter)
    assert origin is not None and origin.draw is not None
    with drawing():
        drawn = [origin.draw() for _ in range(max(1, values // parameter.numel()))]
    return sample_of(np.stack([d for d in drawn if d is not None]))


def mindspore_sample(make: Any, seed: int, values: int = VALUES) -> Sample:
    """The same for a MindSpore parameter."""
    mindspore.set_seed(seed)
    fills = Fills(lambda: (None, None))
    call = ms.Initializer.__call__
    ms.Initializer.__call__ = lambda this, array: fills.called(this, array)
    try:
        parameter = make()
        own = parameter.asnumpy()
    finally:
        ms.Initializer.__call__ = call
    origin = fills.origin(parameter, own)
    assert origin is not None and origin.draw is not None
    with fills.again():
        drawn = [origin.draw() for _ in range(max(1, values // own.size))]
    return sample_of(np.stack([d for d in drawn if d is not None]))


def _filled(fill: Any, *shape: int) -> Any:
    def make() -> Any:
        parameter = torch.nn.Parameter(torch.empty(*shape))
        fill(parameter)
        return parameter

    return make


def _parameter(init: Any, *shape: int) -> Any:
    return lambda: mindspore.Parameter(ms.initializer(init, shape, mindspore.float32))


def alike() -> list[tuple[str, Any, Any]]:
    """Name, and how both frameworks fill the same parameter in the same way."""
    nn, cell, init = torch.nn, mindspore.nn, torch.nn.init
    return [
        ("Linear 64x32 weight", lambda: nn.Linear(32, 64).weight, lambda: cell.Dense(32, 64).weight),
        ("Linear 64x32 bias", lambda: nn.Linear(32, 64).bias, lambda: cell.Dense(32, 64).bias),
        ("Linear 1x9 bias", lambda: nn.Linear(9, 1).bias, lambda: cell.Dense(9, 1).bias),
        ("Conv2d 8x3x5x5", lambda: nn.Conv2d(3, 8, 5).weight, lambda: cell.Conv2d(3, 8, 5).weight),
        ("Embedding N(0,1)", lambda: nn.Embedding(50, 16).weight, _parameter(ms.Normal(1.0), 50, 16)),
        ("N(0,0.02)", _filled(lambda p: init.normal_(p, 0, 0.02), 64, 64), _parameter(ms.Normal(0.02), 64, 64)),
        ("uniform", _filled(lambda p: init.uniform_(p, -0.1, 0.1), 40), _parameter(ms.Uniform(0.1), 40)),
        ("truncated", _filled(lambda p: init.trunc_normal_(p, 0, 0.02, -0.04, 0.04), 30, 30),
         _parameter(ms.TruncatedNormal(0.02, 0.0, -0.04, 0.04), 30, 30)),
        ("xavier", _filled(init.xavier_uniform_, 24, 48), _parameter(ms.XavierUniform(), 24, 48)),
        ("kaiming", _filled(lambda p: init.kaiming_normal_(p, nonlinearity="relu"), 16, 8, 3, 3),
         _parameter(ms.HeNormal(nonlinearity="relu"), 16, 8, 3, 3)),
        ("orthogonal", _filled(lambda p: init.orthogonal_(p), 32, 32), _parameter(ms.Orthogonal(), 32, 32)),
        ("LSTM", lambda: nn.LSTM(8, 12).weight_ih_l0, _parameter(ms.Uniform(12**-0.5), 48, 8)),
    ]  # fmt: skip


def false_alarms(runs: int) -> tuple[int, int, float]:
    """Judges clean runs.

    Returns:
        Runs with a fault, parameters called different, and the smallest p-value of all.
    """
    bad = different = 0
    smallest = 1.0
    for seed in range(runs):
        results = [
            difference(torch_sample(mine, 2 * seed), mindspore_sample(theirs, 2 * seed + 1))
            for _, mine, theirs in alike()
        ]
        refuted = holm([r.p for r in results], LEVEL)
        wrong = [r for r, no in zip(results, refuted, strict=True) if no and r.what]
        different += len(wrong)
        bad += bool(wrong)
        smallest = min(smallest, *(r.p for r in results))
    return bad, different, smallest


def tests_alone(trials: int = 20000) -> list[tuple[str, int, float]]:
    """How often p < 1e-3 for equal distributions of few values: the rate over 1e-3, by distribution and size."""
    rng = np.random.RandomState(0)
    draws = {
        "normal": rng.randn,
        "uniform": lambda *s: rng.uniform(-1, 1, s),
        "laplace": lambda *s: rng.laplace(size=s),
    }
    found = []
    for name, draw in draws.items():
        for n in (8, 32, 256):
            alarms = sum(difference(sample_of(draw(n)), sample_of(draw(n))).p < 1e-3 for _ in range(trials // 4))
            found.append((name, n, alarms / (trials // 4) / 1e-3))
    return found


def power(repeats: int = 20) -> list[tuple[str, int, float]]:
    """Fraction of differing pairs that are found in a family of 60, by difference and number of values."""
    rng = np.random.RandomState(1)
    cut = lambda n: (lambda x: x[np.abs(x) < 2][:n])(rng.randn(2 * n + 50))  # noqa: E731
    pairs = {
        "N(0,1) against N(0,1.06)": (lambda n: rng.randn(n), lambda n: 1.06 * rng.randn(n)),
        "N(0,1) against N(0,1.1)": (lambda n: rng.randn(n), lambda n: 1.1 * rng.randn(n)),
        "uniform, bound +10%": (lambda n: rng.uniform(-1, 1, n), lambda n: rng.uniform(-1.1, 1.1, n)),
        "normal against cut at 2 sigma": (lambda n: rng.randn(n), cut),
        "uniform against normal, same std": (lambda n: rng.uniform(-1, 1, n), lambda n: rng.randn(n) / 3**0.5),
        "N(0,1) against N(0,0.01)": (lambda n: rng.randn(n), lambda n: 0.01 * rng.randn(n)),
    }
    found = []
    for name, (mine, theirs) in pairs.items():
        for n in (16, 600, 4096, VALUES):
            results = [difference(sample_of(mine(n)), sample_of(theirs(n))) for _ in range(repeats)]
            found.append((name, n, sum(bool(r.what) and r.p * 60 < LEVEL for r in results) / repeats))
    return found


def main() -> int:
    """Prints all three tables; exit code 1 where a clean run raised an alarm."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    bad, different, smallest = false_alarms(runs)
    print(f"clean runs: {bad} of {runs} with a fault, {different} parameters; smallest p {smallest:.2g}")
    for name, n, rate in tests_alone():
        print(f"p < 1e-3 where nothing differs: {name:8} n={n:<6} {rate:.2f} times as often as it should be")
    for name, n, fraction in power():
        print(f"found: {name:36} n={n:<6} {fraction:.2f}")
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
