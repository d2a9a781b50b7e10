"""The instrumented process. It finishes its own imports before the script's folder joins `sys.path`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from parity.capture.job import Job
from parity.capture.run import SEED, Outcome, on_import, run_script
from parity.capture.session import Session
from parity.capture.source import Source
from parity.errors import ParityError
from parity.model import Meta
from parity.trace import Trace, TraceWriter

OK, SCRIPT_FAILED, PARITY_FAILED = 0, 64, 65


class _Frameworks:
    """Adapters of the frameworks that the script has imported, all telling the present session."""

    def __init__(self) -> None:
        self.adapters: list[Any] = []
        self.session: Session | None = None

    def torch(self) -> None:
        from parity.capture.frameworks.torch import TorchAdapter

        self._add(TorchAdapter())

    def mindspore(self) -> None:
        from parity.capture.frameworks.mindspore import MindSporeAdapter

        self._add(MindSporeAdapter())

    def _add(self, adapter: Any) -> None:
        self.adapters.append(adapter)
        if self.session is not None:
            if self.session.adapter is None:
                self.session.adapter = adapter
            adapter.install(self.session)
            adapter.seed(SEED)

    def follow(self, session: Session) -> None:
        """From now on the adapters tell this session."""
        self.session = session
        for adapter in self.adapters:
            adapter.install(session)

    def seeders(self) -> list[Callable[[int], None]]:
        return [adapter.seed for adapter in self.adapters]


def main(path: str) -> int:
    """Runs a job file; returns the process's exit code."""
    job = msgspec.json.decode(Path(path).read_bytes(), type=Job)
    frameworks = _Frameworks()
    on_import({"torch": frameworks.torch, "mindspore": frameworks.mindspore})
    try:
        if job.kind == "force":
            from parity.capture.forced import run_forced

            return run_forced(job, frameworks)
        return _record(job, frameworks)
    except ParityError as error:
        document = {"slug": error.slug, "message": error.message, "hint": error.hint}
        Path(job.output + ".error").write_bytes(msgspec.json.encode(document))
        return PARITY_FAILED


def _record(job: Job, frameworks: _Frameworks) -> int:
    from parity.capture.record import Recorder
    from parity.capture.survey import SECONDS, survey
    from parity.capture.sync import Synchroniser

    script = Path(job.script)
    writer = TraceWriter(Path(job.output))
    source = Source(script)
    recorder: Recorder
    if job.kind in ("sync", "free") and job.reference is not None:
        recorder = Synchroniser(writer, source, job.steps, Trace(job.reference), free=job.kind == "free")
    else:
        recorder = Recorder(writer, source, job.steps)
    meta = Meta(python=sys.version.split()[0], command=[job.script, *job.args], script=str(script.resolve()))
    meta.folder = str(source.folder)
    writer.meta(meta)
    frameworks.follow(recorder)
    start = time.perf_counter()
    outcome = run_script(script, job.args, frameworks.seeders())
    meta.timings["script"] = time.perf_counter() - start
    recorder.finished = True
    if outcome.kind in ("ended", "stopped") and recorder.adapter is not None:
        left = (job.timeout - meta.timings["script"]) / 2
        survey(writer, recorder.adapter, recorder.loaders, job.data_batches, min(SECONDS, left))
    _describe(meta, recorder, outcome)
    if recorder.roots:
        recorder.save_layers()
    writer.flush()
    good = outcome.kind in ("ended", "stopped")
    meta.complete = good and meta.steps > 0
    writer.meta(meta)
    if meta.complete:
        writer.finish()
    else:
        writer.close()
    return OK if good else SCRIPT_FAILED


def _describe(meta: Meta, recorder: Any, outcome: Outcome) -> None:
    adapter = recorder.adapter
    if adapter is not None:
        meta.framework, meta.version = adapter.name, adapter.version
    meta.steps = recorder.step
    meta.stopped = outcome.kind == "stopped"
    meta.notes = recorder.notes
    meta.mapping = getattr(recorder, "mapping", None)
    meta.unmapped = getattr(recorder, "unmapped", [])
    meta.environment.update(recorder.facts)
    meta.environment["model_called"] = recorder.model_called
    if outcome.kind == "failed":
        meta.error = {"text": outcome.text, "summary": outcome.error}


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
