"""What the end of an instrumented process means: all is well, or an error that says what to do."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from parity.capture.job import Job
from parity.errors import (
    BatchesRefused,
    CaptureFailed,
    FrameworkMissing,
    NothingCaptured,
    OutOfSpace,
    ParityError,
    ScriptError,
    ScriptTimeout,
    TraceError,
    UsageError,
)
from parity.model import Meta

_SCRIPT_FAILED, _PARITY_FAILED = 64, 65


class Ended(NamedTuple):
    """How an instrumented process ended.

    Attributes:
        code: Its exit code, None where its time ran out.
        python: The interpreter that it ran in.
        timeout: The seconds that it had.
        last: The last line that it printed.
    """

    code: int | None
    python: str
    timeout: float
    last: str


def raise_for(ended: Ended, job: Job, side: str) -> None:
    """Says what the end of a job's process means, unless all is well.

    Args:
        ended: How it ended.
        job: What it had to do.
        side: `reference` or `candidate`, for messages.

    Raises:
        ParityError: As `run_job` says.
    """
    output = Path(job.output)
    what = f"{side} script" if job.kind != "force" else "forced run of the reference script"
    code, python = ended.code, ended.python
    if code is None:
        raise ScriptTimeout(
            f"the {what} did not come to the end of step {job.steps} within {ended.timeout:g} s; "
            f"captured {_steps(_captured(output))}",
            hint="give it more time with --timeout, or ask for fewer steps with --steps",
            side=side,
        )
    meta = _meta(output)
    if code == _PARITY_FAILED:
        raise _handed_on(Path(job.output + ".error"), what, side, ended.last)
    described = meta is not None and (meta.error is not None or "script" in meta.timings)
    if code == _SCRIPT_FAILED and meta is not None and described:
        raise _script_failed(meta, what, python, side)
    if code != 0 or (job.kind != "force" and not described):
        steps = _steps(_captured(output))
        raise CaptureFailed(
            f"the process of the {what} {_ending(code)}; captured {steps}" + _quoted(ended.last),
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


def _handed_on(file: Path, what: str, side: str, last: str) -> ParityError:
    """The error that the process wrote down for its parent; where it could not, it has printed it."""
    try:
        told: dict[str, Any] = json.loads(file.read_bytes())
        file.unlink()
        message = str(told["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return CaptureFailed(
            f"the process of the {what} failed" + _quoted(last), hint="run the script without parity", side=side
        )
    kinds: list[type[ParityError]] = [
        CaptureFailed, FrameworkMissing, NothingCaptured, OutOfSpace, TraceError, UsageError,
    ]  # fmt: skip
    kind = next((kind for kind in kinds if kind.slug == told.get("slug")), CaptureFailed)
    if told.get("slug") == "max-disk":
        kind = OutOfSpace
    error = kind(message, hint=told.get("hint"), side=side)
    error.slug = str(told.get("slug") or error.slug)
    return error


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
    sizes = meta.environment.get("batch_sizes")
    if isinstance(sizes, list) and len(sizes) == 2:
        own, given = sizes
        return BatchesRefused(
            f"the {what} failed with the reference's batches of {given} samples (its own have {own}); "
            f"captured {_steps(meta.steps)}\n{text}",
            hint=f"make its batches have {given} samples, as the reference's; with --free it keeps its own",
            side=side,
        )
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
    if meta.environment.get("differentiated"):
        return NothingCaptured(
            f"the {what} differentiates a model, but no step of an optimizer was seen",
            hint="parity follows the framework's own optimizers; make the script reach the step of one",
            side=side,
        )
    return NothingCaptured(
        f"the {what} called layers, but none that holds parameters",
        hint="name the script that runs the model",
        side=side,
    )


def partial(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


def _meta(output: Path) -> Meta | None:
    for folder in (partial(output), output):
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
        with open(partial(output) / "events.jsonl", "rb") as lines:
            steps += (decoder.decode(line).step for line in lines)
    except (OSError, msgspec.MsgspecError):
        return max(steps)  # the last line may be cut off; what stood before it counts
    return max(steps)


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
