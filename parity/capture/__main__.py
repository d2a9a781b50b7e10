"""The instrumented process. It finishes its own imports before the script's folder joins `sys.path`."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from parity.capture.job import Job
from parity.capture.meters import LIBRARIES, Meters
from parity.capture.run import SEED, on_import, tell
from parity.capture.session import Session
from parity.errors import CaptureFailed, ParityError

OK, SCRIPT_FAILED, PARITY_FAILED = 0, 64, 65


class _Frameworks:
    """Adapters of the frameworks that the script has imported, all telling the present session."""

    def __init__(self) -> None:
        self.adapters: list[Any] = []
        self.session: Session | None = None
        self.meters = Meters(lambda: self.session)

    def torch(self) -> None:
        from parity.capture.frameworks.torch import TorchAdapter

        self._add(TorchAdapter())

    def mindspore(self) -> None:
        from parity.capture.frameworks.mindspore import MindSporeAdapter

        self._add(MindSporeAdapter())
        self.metrics("mindspore.train")

    def metrics(self, module: str) -> None:
        """Follows the metric objects of a library that was just imported."""
        self.meters.follow_all(sys.modules[module].Metric)

    def _add(self, adapter: Any) -> None:
        self.adapters.append(adapter)
        if self.session is not None:
            if self.session.adapter is None:
                self.session.adapter = adapter
            adapter.install(self.session)
            adapter.seed(SEED)

    def forget(self) -> None:
        """A process that the script has forked is none of ours: it must not write into the trace."""
        if self.session is not None:
            self.session.finished = True

    def follow(self, session: Session) -> None:
        """From now on the adapters tell this session."""
        self.session = session
        for adapter in self.adapters:
            if session.adapter is None:
                session.adapter = adapter
            adapter.install(session)

    def seeders(self) -> list[Callable[[int], None]]:
        return [adapter.seed for adapter in self.adapters]

    def seeding(self) -> list[tuple[Any, str]]:
        return [place for adapter in self.adapters for place in adapter.seeding()]


def main(path: str) -> int:
    """Runs a job file; returns the process's exit code."""
    job = msgspec.convert(json.loads(Path(path).read_bytes()), Job)
    frameworks = _Frameworks()
    _first_to_go()
    os.register_at_fork(after_in_child=frameworks.forget)
    libraries = {name: functools.partial(frameworks.metrics, name) for name in LIBRARIES}
    on_import({"torch": frameworks.torch, "mindspore": frameworks.mindspore, **libraries})
    frameworks.meters.follow_scripts()
    try:
        if job.kind == "force":
            from parity.capture.forced import run_forced

            return run_forced(job, frameworks)
        from parity.capture.recorded import run_recorded

        return OK if run_recorded(job, frameworks) else SCRIPT_FAILED
    except ParityError as error:
        return _hand_on(job, error)
    except Exception as error:  # what the parent shows is a message, never this process's traceback
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        return _hand_on(job, CaptureFailed(f"the recorder itself failed: {type(error).__name__}: {error} ({where})"))


def _first_to_go() -> None:
    """Where memory runs out, this process is to be killed, and not the one that tells of it."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        pass  # no Linux, or not allowed


def _hand_on(job: Job, error: ParityError) -> int:
    """Writes an error down for the parent."""
    document = {"slug": error.slug, "message": error.message, "hint": error.hint}
    try:
        Path(job.output + ".error").write_text(json.dumps(document), encoding="utf-8")
    except OSError:
        tell(error.message)  # nothing can be written there, which may be the error itself
    return PARITY_FAILED


def _leave(code: int) -> None:
    """Ends without waiting for threads and finalizers of the script or its framework."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1]))
