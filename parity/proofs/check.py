"""Proves the tables of `mappings/` against the installed frameworks, in a worker process that is started again."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from parity.entries import Entry


class Task(NamedTuple):
    """One thing to prove: `what` is `signature`, `initializers` or the number of a proof."""

    entry: Entry
    what: str | int


class Outcome(NamedTuple):
    """What was found: no problems means proven."""

    task: Task
    problems: list[str]


def tasks(entries: Iterable[Entry], numeric: bool = True) -> list[Task]:
    """What there is to prove of entries.

    Args:
        entries: Any of `mapping.load()`.
        numeric: Whether initializers are measured and proofs are run, beside the signatures.
    """
    listed = []
    for entry in entries:
        if entry.kind == "without":
            continue
        listed.append(Task(entry, "signature"))
        if numeric and entry.initializers and entry.alias_of is None:
            listed.append(Task(entry, "initializers"))
        if numeric and entry.alias_of is None:
            listed += [Task(entry, number) for number in range(len(entry.proof))]
    return listed


class Worker:
    """The process that imports the frameworks. It is started at the first task, and again after it died."""

    def __init__(self, timeout: float = 120.0, quiet: bool = True) -> None:
        self.timeout = timeout
        self.quiet = quiet
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def prove(self, task: Task) -> Outcome:
        """Proves one task; a death of the worker is a problem like others.

        What fails in a process where the candidate has raised before is proven again in a new one.
        """
        outcome, raised = self._answer(task)
        if outcome.problems and raised:
            self.close()
            outcome, _ = self._answer(task)
        return outcome

    def _answer(self, task: Task) -> tuple[Outcome, bool]:
        process = self._running()
        assert process.stdin is not None
        message = msgspec.json.encode([*task.entry.names, task.what]) + b"\n"
        try:
            process.stdin.write(message)
            process.stdin.flush()
            line = self._line(process)
        except (BrokenPipeError, EOFError):
            code = process.wait()
            self.close()
            return Outcome(task, [f"the worker died: {'signal' if code < 0 else 'exit code'} {abs(code)}"]), False
        except TimeoutError:
            self.close()
            return Outcome(task, [f"no answer in {self.timeout:g} s"]), False
        problems, raised = msgspec.json.decode(line, type=tuple[list[str], bool])
        return Outcome(task, problems), raised

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            environment: dict[str, str] = {
                "GLOG_v": "4", "PYTHONWARNINGS": "ignore", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1",
                "OMP_WAIT_POLICY": "passive", **os.environ,
            }  # fmt: skip
            self._rest = b""
            self._process = subprocess.Popen(
                [sys.executable, "-m", "parity.proofs.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if self.quiet else None, env=environment,
            )  # fmt: skip
        return self._process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        end = time.monotonic() + self.timeout
        while b"\n" not in self._rest:
            if not select.select([process.stdout], [], [], max(end - time.monotonic(), 0.0))[0]:
                raise TimeoutError
            read = os.read(process.stdout.fileno(), 1 << 16)
            if not read:
                raise EOFError
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def check(listed: Iterable[Task], worker: Worker) -> Iterator[Outcome]:
    """Proves tasks one by one."""
    return map(worker.prove, listed)
