"""Starts an instrumented process and turns the way it ended into a trace or an error."""

from __future__ import annotations

import functools
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from parity.capture.job import Job
from parity.errors import (
    CaptureFailed,
    FrameworkMissing,
    NothingCaptured,
    ParityError,
    ScriptError,
    ScriptTimeout,
    TraceError,
    UsageError,
)
from parity.model import Meta

Log = Callable[[bytes], None]
"""Takes what a script prints, in pieces as they come."""

GRACE = 3.0
"""Seconds that an interrupted process has to write down what it has captured, before it is killed."""

_SCRIPT_FAILED, _PARITY_FAILED = 64, 65
_TAIL = 4000
_ROOT = Path(__file__).resolve().parents[2]
_NEEDED = {"msgspec": "msgspec>=0.18", "numpy": "numpy>=1.26"}
_PROBE = (
    "import importlib.util as u, json, sys;"
    f"print(json.dumps([list(sys.version_info[:2]), [n for n in {list(_NEEDED)} if u.find_spec(n) is None]]))"
)


def capture(
    script: Path,
    output: Path,
    *,
    side: str,
    args: tuple[str, ...],
    steps: int,
    timeout: float,
    python: str,
    cwd: Path,
    log: Log,
    sync: Path | None = None,
    free: bool = False,
    data_batches: int = 200,
) -> Path:
    """Runs a script under instrumentation and leaves its trace.

    Args:
        script: The `.py` file, relative to the caller's folder or absolute.
        output: The trace to write, `NAME.trace`; replaces an older trace.
        side: `reference` or `candidate`.
        args: The script's own arguments.
        steps: Training steps to record.
        timeout: Seconds after which the script is killed.
        python: The interpreter to run it in.
        cwd: The folder to run it in.
        log: Takes what the script prints.
        sync: The reference's trace, whose weights and batches the script gets; None leaves it its own.
        free: With `sync`, only pair the parameters with that reference's.
        data_batches: Batches of each data loader that are read alone after the steps.

    Returns:
        The path of the trace.

    Raises:
        ParityError: As `run_job`, or the output would replace something else than a trace.
    """
    output = Path(os.path.abspath(output))
    check_replaceable(output)
    shutil.rmtree(_partial(output), ignore_errors=True)
    shown = script if os.path.realpath(cwd) == os.getcwd() else Path(os.path.abspath(script))
    reference = os.path.abspath(sync) if sync is not None else None
    kind = "record" if sync is None else "free" if free else "sync"
    job = Job(
        kind, str(shown), list(args), str(output), steps, reference=reference, side=side, data_batches=data_batches,
        timeout=timeout,
    )  # fmt: skip
    return run_job(job, python=python, cwd=cwd, timeout=timeout, side=side, log=log)


def check_replaceable(output: Path) -> None:
    """Makes sure that what stands at a trace's place, complete or partial, is a trace.

    Raises:
        UsageError: It is something else, which would be lost.
    """
    for path in (output, _partial(output)):
        if not path.exists() and not path.is_symlink():
            continue
        inside = {entry.name for entry in path.iterdir()} if path.is_dir() and not path.is_symlink() else {"?"}
        if not inside <= {"meta.json", "layers.json", "events.jsonl", "tensors"}:
            raise UsageError(f"{path} exists and is no trace", hint="name another output, or remove it")


def run_job(job: Job, *, python: str, cwd: Path, timeout: float, side: str, log: Log) -> Path:
    """Runs one job in a process of its own.

    Args:
        job: What to do; its output is an absolute path.
        python: The interpreter to run it in.
        cwd: The folder to run it in.
        timeout: Seconds after which the process and all that it started are killed.
        side: `reference` or `candidate`, for messages.
        log: Takes what the script prints.

    Returns:
        The path of the job's output.

    Raises:
        ScriptError: The script failed by itself.
        ScriptTimeout: It took too long.
        NothingCaptured: It ended well, but trained nothing.
        FrameworkMissing: The interpreter lacks a package.
        CaptureFailed: The process died.
        UsageError: There is no such interpreter or folder.
        ParityError: Any other error that the process met and handed on.
    """
    output = Path(job.output)
    command = _command(python, side)
    Path(job.output + ".error").unlink(missing_ok=True)
    printed = _Tail(log)
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        file = Path(folder) / "job.json"
        file.write_bytes(msgspec.json.encode(job))
        environment = _environment(command[0], Path(folder).resolve())
        code = _run([*command, str(file)], environment, cwd, timeout, printed)
    what = f"{side} script" if job.kind != "force" else "forced run of the reference script"
    if code is None:
        steps = _captured(output)
        raise ScriptTimeout(
            f"the {what} did not come to the end of step {job.steps} within {timeout:g} s; captured {_steps(steps)}",
            hint="give it more time with --timeout, or ask for fewer steps with --steps",
            side=side,
        )
    _raise_for(code, job, what, python, side, printed)
    return output


def _command(python: str, side: str) -> list[str]:
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


def _environment(python: str, folder: Path) -> dict[str, str]:
    """The process's environment; `folder` is a temporary one.

    Another interpreter is shown this parity and nothing else of this environment.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": ""}
    # MindSpore's oneDNN otherwise takes AVX-512 kernels that are up to a hundred times slower.
    environment.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    # NumPy's threads and the framework's wait for each other: one is five times faster on two busy cores.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Idle OpenMP threads that spin take the core from the process that has work: twice as slow beside another one.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("GLOG_v", "3")
    root = _ROOT
    if str(root) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        if _is_own(python):
            return environment
        root = folder / "package"
        shutil.copytree(_ROOT / "parity", root / "parity")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), environment.get("PYTHONPATH"))))
    return environment


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


class _Tail:
    """Hands on what a script prints, and remembers its end."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.text = b""

    def __call__(self, chunk: bytes) -> None:
        self.text = (self.text + chunk)[-_TAIL:]
        self.log(chunk)

    def last_line(self) -> str:
        """The last line that was printed, or nothing."""
        lines = self.text.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def _run(command: list[str], environment: dict[str, str], cwd: Path, timeout: float, log: Log) -> int | None:
    """Runs a command in a process group of its own, of which nothing is left afterwards; None where time ran out."""
    try:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be started in {cwd}: {error.strerror}") from None
    try:
        if _forward(process, timeout, log):
            return process.returncode
        _interrupt(process)
        return None
    except BaseException:
        _interrupt(process)
        raise
    finally:
        _kill_group(process)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _forward(process: subprocess.Popen[bytes], seconds: float, log: Log) -> bool:
    """Hands on what the process prints until it has ended; False where the seconds are over first."""
    assert process.stdout is not None
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            if ended:
                _kill_group(process)  # what it leaves behind may hold the pipe open for ever
            elif time.monotonic() > end:
                return False
            wait = 0.0 if ended else min(0.1, max(0.0, end - time.monotonic()))
            if not selector.get_map():
                time.sleep(wait / 10)
            elif selector.select(wait):
                chunk = os.read(process.stdout.fileno(), 65536)
                if chunk:
                    log(chunk)
                    continue
                selector.unregister(process.stdout)
            if ended:
                return True


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to end, so that its trace is readable up to here."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        _forward(process, GRACE, lambda _: None)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it has gone; macOS says EPERM of a group of zombies


def _raise_for(code: int, job: Job, what: str, python: str, side: str, printed: _Tail) -> None:
    """Says what a process's exit code means, unless all is well."""
    output = Path(job.output)
    meta = _meta(output)
    if code == _PARITY_FAILED:
        raise _handed_on(Path(job.output + ".error"), what, side)
    described = meta is not None and (meta.error is not None or "script" in meta.timings)
    if code == _SCRIPT_FAILED and meta is not None and described:
        raise _script_failed(meta, what, python, side)
    if code != 0 or (job.kind != "force" and not described):
        steps = _steps(_captured(output))
        raise CaptureFailed(
            f"the process of the {what} {_ending(code)}; captured {steps}" + _quoted(printed.last_line()),
            hint=f"run it without parity: {python} {job.script}",
            side=side,
        )
    if job.kind != "force" and meta is not None and meta.steps == 0:
        raise _nothing(meta, what, side)


def _quoted(line: str) -> str:
    return f"; the last it printed: {line}" if line else ""


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} before its trace was complete"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = {"SIGKILL": " (most often because memory ran out)", "SIGSEGV": " (a crash in compiled code)"}
    return f"was killed by {name}{why.get(name, '')}"


def _handed_on(file: Path, what: str, side: str) -> ParityError:
    """The error that the process wrote down for its parent."""
    try:
        told: dict[str, Any] = json.loads(file.read_bytes())
        file.unlink()
        message = str(told["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return CaptureFailed(f"the process of the {what} failed without saying why", side=side)
    kinds: list[type[ParityError]] = [CaptureFailed, FrameworkMissing, NothingCaptured, TraceError, UsageError]
    kind = next((kind for kind in kinds if kind.slug == told.get("slug")), CaptureFailed)
    return kind(message, hint=told.get("hint"), side=side)


def _script_failed(meta: Meta, what: str, python: str, side: str) -> ParityError:
    error = meta.error or {}
    missing = re.search(r"No module named '(torch|mindspore|tensorflow)'", str(error.get("summary", "")))
    if missing and str(error.get("summary", "")).startswith("ModuleNotFoundError"):
        return FrameworkMissing(
            f"the {what} needs {missing[1]}, which {python} does not have",
            hint=f"install it there ({python} -m pip install {missing[1]}), "
            f"or name an interpreter that has it with --{side}-python",
            side=side,
        )
    text = str(error.get("text") or "it was interrupted").rstrip()
    return ScriptError(
        f"the {what} failed; captured {_steps(meta.steps)}\n{text}",
        hint="it must run by itself first; arguments for it stand after --",
        side=side,
    )


def _nothing(meta: Meta, what: str, side: str) -> ParityError:
    if not meta.framework:
        return NothingCaptured(
            f"the {what} ended and never imported torch or mindspore",
            hint="name the script that trains; what a launcher starts in other processes cannot be followed",
            side=side,
        )
    if not meta.environment.get("model_called"):
        return NothingCaptured(
            f"the {what} ended without calling a model",
            hint=f"name the script that trains; arguments that make it do so stand after --, or in --{side}-args",
            side=side,
        )
    return NothingCaptured(
        f"the {what} called a model, but no optimizer step was seen",
        hint="this version compares scripts that train; make it reach its training loop",
        side=side,
    )


def _partial(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


def _meta(output: Path) -> Meta | None:
    for folder in (_partial(output), output):
        try:
            return msgspec.json.decode((folder / "meta.json").read_bytes(), type=Meta)
        except (OSError, msgspec.MsgspecError):
            continue
    return None


class _Stepped(msgspec.Struct):
    step: int = 0


def _captured(output: Path) -> int:
    """Complete steps in a partial trace, whose meta.json may not have been brought up to date."""
    meta = _meta(output)
    steps: list[int] = [meta.steps if meta is not None else 0]
    decoder = msgspec.json.Decoder(_Stepped)
    try:
        with open(_partial(output) / "events.jsonl", "rb") as lines:
            steps += (decoder.decode(line).step for line in lines)
    except (OSError, msgspec.MsgspecError):
        return max(steps)  # the last line may be cut off; what stood before it counts
    return max(steps)


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
