"""The interpreter that a side runs in: is it one, has it what the recorder imports, and what environment it gets."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from pathlib import Path

from parity.capture.process import MARK
from parity.errors import FrameworkMissing, UsageError

_ROOT = Path(__file__).resolve().parents[2]
_NEEDED = {"msgspec": "msgspec>=0.18", "numpy": "numpy>=1.26"}
_PROBE = (
    "import importlib.util as u, json, sys;"
    f"print(json.dumps([list(sys.version_info[:2]), [n for n in {list(_NEEDED)} if u.find_spec(n) is None]]))"
)


def command(python: str, side: str) -> list[str]:
    """The command up to the job file."""
    found = shutil.which(python)
    if found is None:
        raise UsageError(f"there is no interpreter {python}", hint=f"check --{side}-python", side=side)
    found = os.path.abspath(found)
    version = sys.version_info[:2] if _is_own(found) else _probe(found, side)
    # Without -P the caller's folder would come before every package, which `python script.py` does not do either.
    return [found, "-u", *(["-P"] if version >= (3, 11) else []), "-m", "parity.capture"]


def _is_own(python: str) -> bool:
    return python == os.path.abspath(sys.executable)


def environment(python: str, folder: Path) -> dict[str, str]:
    """The process's environment; `folder` is a temporary one.

    Another interpreter is shown this parity and nothing else of this environment.
    """
    variables = {**os.environ, "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": "", MARK: uuid.uuid4().hex}
    # MindSpore's oneDNN otherwise takes AVX-512 kernels that are up to a hundred times slower.
    variables.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    # NumPy's threads and the framework's wait for each other: one is five times faster on two busy cores.
    variables.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Idle OpenMP threads that spin take the core from the process that has work: twice as slow beside another one.
    variables.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    variables.setdefault("GLOG_v", "3")
    root = _ROOT
    if str(root) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        if _is_own(python):
            return variables
        root = folder / "package"
        shutil.copytree(_ROOT / "parity", root / "parity")
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), variables.get("PYTHONPATH"))))
    return variables


@functools.cache
def _probe(python: str, side: str) -> tuple[int, int]:
    """The version of another interpreter, which must have what the instrumented process imports."""
    try:
        done = subprocess.run(
            [python, "-c", _PROBE], capture_output=True, cwd=tempfile.gettempdir(), stdin=subprocess.DEVNULL, timeout=60
        )
        (major, minor), missing = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        raise UsageError(
            f"{python} does not answer as a Python interpreter does", hint=f"check --{side}-python", side=side
        ) from None
    if (major, minor) < (3, 10):
        raise UsageError(
            f"{python} is Python {major}.{minor}; parity needs 3.10 or later", hint=f"check --{side}-python", side=side
        )
    if missing:
        wanted = " ".join(f"'{_NEEDED[name]}'" for name in missing)
        raise FrameworkMissing(
            f"{python} lacks {' and '.join(missing)}, which parity's recorder needs",
            hint=f"install it there: {python} -m pip install {wanted}",
            side=side,
        )
    return major, minor
