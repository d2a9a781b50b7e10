"""Starts an instrumented process and turns the way it ended into a trace or an error."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from parity.capture.endings import Ended, partial, raise_for
from parity.capture.interpreter import command, environment
from parity.capture.job import Job
from parity.capture.process import Log, Tail, run
from parity.errors import UsageError

NOISY = 4
"""A reference with its noise passes is run so many times; its timeout is that of so many runs."""


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
    inputs: bool = False,
    noise: bool = False,
    limit: int | None = None,
    pins: Sequence[tuple[str, str]] = (),
    summary: bool = False,
    sampled: list[int] | None = None,
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
        noise: Run a reference again with moved values, and add what that does to its trace.
        limit: Bytes that the trace may take.
        pins: Layers that the user has paired, by their paths, reference first.
        summary: Record statistics only, apart from what the other side starts from.
        sampled: The steps that are followed closely; None for all.
        inputs: Leave what the run depended on beside the trace, as `NAME.trace.inputs`.
        data_batches: Batches of each data loader that are read alone after the steps.

    Returns:
        The path of the trace.

    Raises:
        ParityError: As `run_job`, or the output would replace something else than a trace.
    """
    output = Path(os.path.abspath(output))
    check_replaceable(output)
    shutil.rmtree(partial(output), ignore_errors=True)
    shown = script if os.path.realpath(cwd) == os.getcwd() else Path(os.path.abspath(script))
    reference = os.path.abspath(sync) if sync is not None else None
    kind = "record" if sync is None else "free" if free else "sync"
    job = Job(
        kind, str(shown), list(args), str(output), steps, reference=reference, side=side, inputs=inputs, noise=noise,
        limit=limit, pins=list(pins), summary=summary, sampled=sampled, data_batches=data_batches, timeout=timeout,
    )  # fmt: skip
    return run_job(job, python=python, cwd=cwd, timeout=timeout * (NOISY if noise else 1), side=side, log=log)


def check_replaceable(output: Path) -> None:
    """Makes sure that what stands at a trace's place, complete or partial, is a trace.

    Raises:
        UsageError: It is something else, which would be lost.
    """
    for path in (output, partial(output)):
        if not path.exists() and not path.is_symlink():
            continue
        inside = {entry.name for entry in path.iterdir()} if path.is_dir() and not path.is_symlink() else {"?"}
        if not inside <= {"meta.json", "layers.json", "events.jsonl", "noise.json", "tensors"}:
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
    words = command(python, side)
    Path(job.output + ".error").unlink(missing_ok=True)
    printed = Tail(log)
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(msgspec.to_builtins(job)), encoding="utf-8")
        variables = environment(words[0], Path(folder).resolve())
        code = run([*words, str(file)], variables, cwd, timeout, printed)
    raise_for(Ended(code, python, timeout, printed.last_line()), job, side)
    return Path(job.output)
