"""The recording run: the script once, and once more where it turns out that it only calls its model."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from parity.capture.configured import Configurations
from parity.capture.construct import LONGEST, constructed
from parity.capture.initial import record_constructed
from parity.capture.inputs import Watch
from parity.capture.job import Job
from parity.capture.mode_calls import mode_calls
from parity.capture.noise import run_noise
from parity.capture.record import Recorder
from parity.capture.run import Outcome, run_script, silence, tell
from parity.capture.seeds import numpy_seeds
from parity.capture.source import Source, readable
from parity.capture.survey import SECONDS, survey
from parity.capture.sync import Synchroniser
from parity.model import Meta
from parity.space import size
from parity.trace import Trace, TraceWriter


def run_recorded(job: Job, frameworks: Any) -> bool:
    """Runs the script and writes its trace; False where the script failed, and its trace is partial.

    A script that ends without an optimizer's step has only called its model, and runs again so that these calls are
    recorded. Where its words promise no training, they are recorded at once.

    Raises:
        OutOfSpace: The disk is full, or the job's limit is reached.
    """
    watch = Watch() if job.inputs else None
    reference = Trace(job.reference) if job.reference is not None else None
    inference: bool | None = None if reference is None else reference.meta.inference
    steps, again = job.steps, False
    while True:
        run = _Run(job, reference, steps, inference, frameworks)
        with silence() if again else nullcontext():
            outcome = run.script(frameworks)
        if run.writer.failed is not None:
            run.writer.close()
            raise run.writer.failed
        recorder = run.recorder
        if recorder.mistaken:
            inference, again = False, True
        elif _only_called(recorder, outcome, alone=reference is None) and not recorder.inference and not again:
            inference, again = True, True
            steps = steps if reference is None else 1  # it is compared up to the first update that it lacks
        else:
            good = run.finish(outcome, frameworks)
            if job.noise and good and run.meta.complete:
                run_noise(Path(job.output), Path(job.script), job.args, frameworks)
            if watch is not None and good:
                Path(job.output + ".inputs").write_bytes(msgspec.json.encode(watch.inputs(Path(job.script))))
            return good


def _only_called(recorder: Recorder, outcome: Outcome, alone: bool) -> bool:
    """Whether the script ended well, and called a model without ever updating it."""
    ended = outcome.kind == "ended" and recorder.step == 0 and recorder.model_called
    return ended and not (alone and recorder.differentiated)


class _Run:
    """One run of the script into a fresh trace."""

    def __init__(self, job: Job, reference: Trace | None, steps: int, inference: bool | None, frameworks: Any) -> None:
        self.job = job
        script = Path(job.script)
        source = Source(script)
        self.writer = TraceWriter(Path(job.output), job.limit, job.summary)
        self.recorder: Recorder
        if reference is not None:
            self.recorder = Synchroniser(
                self.writer,
                source,
                steps,
                reference,
                free=job.kind == "free",
                inference=bool(inference),
                pins=job.pins,
            )
        else:
            self.recorder = Recorder(self.writer, source, steps, inference)
        self.recorder.on_step = self._step_done
        self.recorder.evaluates = job.sampled is None
        self.recorder.sampled = None if job.sampled is None else frozenset(job.sampled)
        self.meta = Meta(python=sys.version.split()[0], command=[readable(word) for word in (job.script, *job.args)])
        self.meta.script, self.meta.folder = readable(str(script.resolve())), readable(str(source.folder))
        self.writer.meta(self.meta)
        frameworks.follow(self.recorder)

    def script(self, frameworks: Any) -> Outcome:
        """Runs it to its end, or to the end of its last recorded step."""
        start = time.perf_counter()
        with Configurations(self.recorder.source, self.recorder.configured), numpy_seeds(self.recorder):
            outcome = run_script(Path(self.job.script), self.job.args, frameworks.seeders())
        self.recorder.script_ended(outcome.kind == "ended")
        self.meta.timings["script"] = time.perf_counter() - start
        self.recorder.finished = True
        return outcome

    def _step_done(self) -> None:
        """Brings the trace up to date: what comes later may kill the process."""
        self.writer.flush()
        self._describe()
        self.writer.meta(self.meta)
        if self.recorder.step == 1 and self.job.steps > 1 and not self.recorder.finished:
            more = (self.writer.written - self.recorder.initial) * (self.job.steps - 1)
            total = size(self.writer.written + more)
            tell(f"step 1 takes {size(self.writer.written)} on disk, all {self.job.steps} about {total}")

    def _describe(self) -> None:
        recorder: Any = self.recorder
        meta = self.meta
        if recorder.adapter is not None:
            meta.framework, meta.version = recorder.adapter.name, recorder.adapter.version
        meta.steps = recorder.step
        meta.evaluated = recorder.evaluated
        meta.inference = bool(recorder.inference)
        meta.notes = recorder.notes
        meta.mapping = getattr(recorder, "mapping", None)
        meta.unmapped = getattr(recorder, "unmapped", [])
        meta.environment.update(recorder.facts)
        meta.environment["model_called"] = recorder.model_called
        meta.environment["summary"] = self.job.summary
        meta.environment["differentiated"] = recorder.differentiated

    def finish(self, outcome: Outcome, frameworks: Any) -> bool:
        """Completes the trace, or leaves it partial where the script failed or did nothing."""
        recorder = self.recorder
        start = time.perf_counter()
        if outcome.kind in ("ended", "stopped") and recorder.adapter is not None and recorder.step:
            left = (self.job.timeout - self.meta.timings["script"]) / 2
            batches, seconds = self.job.data_batches, min(SECONDS, left)
            survey(self.writer, recorder.adapter, recorder.loaders, recorder.used_loaders, batches, seconds)
        if outcome.kind == "stopped":
            self.recorder.plan()
        meta = self.meta
        meta.environment["modes"] = mode_calls(recorder.source)
        self._describe()
        meta.stopped = outcome.kind == "stopped"
        if outcome.kind == "failed":
            meta.error = {"text": readable(outcome.text), "summary": readable(outcome.error)}
        if self.recorder.roots:
            self.recorder.save_layers()
        good = outcome.kind in ("ended", "stopped")
        self._construct(frameworks, good and meta.steps > 0, start)
        self.writer.flush()
        meta.complete = good and meta.steps > 0
        self.writer.meta(meta)
        if meta.complete:
            self.writer.finish()
        else:
            self.writer.close()
        return good

    def _construct(self, frameworks: Any, good: bool, start: float) -> None:
        """Where parameters were not seen to be made, runs what makes them again under other seeds.

        Args:
            frameworks: The adapters of the frameworks that the script imports.
            good: Whether the script can be run again.
            start: When it had run, as `time.perf_counter` has it.
        """
        unseen, took = self.recorder.unseen, self.meta.timings["script"]
        left = (self.job.timeout - took) / 2 - (time.perf_counter() - start)
        drawn: dict[str, np.ndarray] = {}
        if unseen and good and not self.job.summary and took < min(left, LONGEST):
            own = {name: one.values for name, one in unseen.items()}
            inference = bool(self.recorder.inference)
            drawn = constructed(Path(self.job.script), self.job.args, frameworks, own, inference, left)
        record_constructed(unseen, drawn, self.writer)
