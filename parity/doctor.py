"""`parity doctor`: which interpreters and frameworks there are, what of them is supported, and whether it works."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import parity
from parity.capture.launch import capture
from parity.capture.supported import SUPPORTED, supported
from parity.errors import Exit, ParityError
from parity.trace import Trace

_PROBE = """
import importlib.metadata, json, sys
found = {}
for name in %r:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps({"python": sys.version.split()[0], "packages": found}))
"""

_SCRIPTS = {
    "torch": """
import torch
model = torch.nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(4, 3)).sum().backward()
optimizer.step()
""",
    "mindspore": """
import mindspore as ms
model = ms.nn.Dense(3, 2)
optimizer = ms.nn.SGD(model.trainable_params(), learning_rate=0.1)
_, gradients = ms.value_and_grad(lambda x: model(x).sum(), None, optimizer.parameters)(ms.ops.ones((4, 3)))
optimizer(gradients)
""",
}
"""One training step of one layer in each framework."""

TIMEOUT = 120.0
"""Seconds for each of these scripts."""


def examine(pythons: Sequence[str]) -> dict[str, Any]:
    """Everything there is to know about some interpreters.

    Args:
        pythons: Interpreters besides this one.
    """
    known = {str(Path(shutil.which(python) or python).absolute()): python for python in (sys.executable, *pythons)}
    return {
        "schema": 1,
        "parity": parity.__version__,
        "platform": platform.platform(),
        "supported": {name: words for name, (words, _, _) in SUPPORTED.items()},
        "interpreters": [_interpreter(python) for python in known],
    }


def _interpreter(python: str) -> dict[str, Any]:
    names = ("numpy", "msgspec", *SUPPORTED)
    try:
        done = subprocess.run(
            [python, "-c", _PROBE % (names,)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
        )  # fmt: skip
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {
            "path": python,
            "python": None,
            "packages": {},
            "frameworks": [],
            "problem": "it is no Python that runs",
        }
    packages = found["packages"]
    frameworks = [
        {"name": name, "version": packages[name], "supported": supported(name, packages[name]),
         **_test(python, name)}
        for name in SUPPORTED if packages[name] is not None
    ]  # fmt: skip
    return {"path": python, "python": found["python"], "packages": packages, "frameworks": frameworks, "problem": None}


def _test(python: str, framework: str) -> dict[str, Any]:
    """Captures one training step of one layer."""
    with tempfile.TemporaryDirectory(prefix="parity-doctor-") as name:
        folder = Path(name)
        script = folder / f"one_layer_{framework}.py"
        script.write_text(_SCRIPTS[framework])
        try:
            trace = Trace(
                capture(
                    script, folder / "one.trace", side="reference", args=(), steps=1, timeout=TIMEOUT, python=python,
                    cwd=folder, log=lambda _: None,
                )
            )  # fmt: skip
        except ParityError as error:
            return {"works": False, "problem": error.message}
        updated = [event for event in trace.events if type(event).__name__ == "OptimizerEvent"]
        if trace.meta.steps != 1 or len(trace.parameters) != 2 or not updated:
            return {"works": False, "problem": "the captured step lacks the layer or its update"}
        return {"works": True, "problem": None}


def report(found: dict[str, Any], form: str, print_: Callable[[str], None]) -> int:
    """Prints what was found; the exit code is 0 where every installed framework works, and one is installed."""
    from parity.report.json import dumps
    from parity.report.terminal import safe

    if form == "json":
        print_(dumps(found))
    else:
        print_("\n".join(map(safe, _lines(found))) + "\n")
    tests = [framework["works"] for each in found["interpreters"] for framework in each["frameworks"]]
    broken = any(each["problem"] for each in found["interpreters"])
    return Exit.MATCH if tests and all(tests) and not broken else Exit.ERROR


def _lines(found: dict[str, Any]) -> list[str]:
    ranges = ", ".join(f"{name} {words}" for name, words in found["supported"].items())
    lines = [f"parity {found['parity']} on {found['platform']}", f"supported: {ranges}"]
    for each in found["interpreters"]:
        lines.append(f"{each['path']}: {each['problem'] or 'Python ' + each['python']}")
        for name in ("numpy", "msgspec"):
            if not each["problem"]:
                version = each["packages"][name]
                lines.append(f"  {name} {version}" if version else f"  {name} is missing, which the recorder needs")
        for framework in each["frameworks"]:
            known = "supported" if framework["supported"] else "not among the supported versions"
            works = "a one-layer capture works" if framework["works"] else "a one-layer capture fails:"
            lines.append(f"  {framework['name']} {framework['version']}: {known}, {works}")
            lines += [f"    {line}" for line in (framework["problem"] or "").splitlines()]
        if not each["problem"] and not each["frameworks"]:
            lines.append("  no framework is installed here")
    return lines
