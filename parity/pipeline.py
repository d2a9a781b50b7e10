"""From two scripts to a comparison: capture the reference, the candidate, the forced run, and judge."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from parity.capture.job import Job
from parity.capture.launch import capture, check_replaceable, run_job
from parity.console import Console
from parity.document import Comparison
from parity.errors import BatchesRefused, CaptureFailed, OutOfSpace, ParityError, ScriptError, ScriptTimeout, TraceError
from parity.options import Request, Subject
from parity.report.json import document, dumps
from parity.reuse import Asked, References
from parity.runs import run_folder
from parity.saved import judged
from parity.space import disk_full
from parity.trace import Trace

FORCED_PASSES = 5
"""The forced run takes the reference's script through several passes; its timeout is that of so many runs."""


class Unfinished(ParityError):
    """A comparison that an error ended.

    Attributes:
        folder: Where the traces lie that were captured.
        comparison: What could be compared nevertheless, None where nothing could.
    """

    def __init__(self, error: ParityError, folder: Path, comparison: Comparison | None = None) -> None:
        super().__init__(error.message, hint=error.hint, side=error.side)
        self.slug = error.slug
        self.folder = folder
        self.comparison = comparison


class Interrupted(KeyboardInterrupt):
    """A comparison that the user ended; `folder` holds what was captured."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


def compare_scripts(request: Request, console: Console) -> tuple[Comparison, Path]:
    """Runs a whole comparison.

    Args:
        request: Both sides, and how to judge them.
        console: Takes progress and what the scripts print.

    Returns:
        The comparison, and the folder that holds its traces and `comparison.json`.

    Raises:
        UsageError: The folder to keep things in cannot be used.
        Unfinished: A script failed, or a trace cannot be read.
        Interrupted: The user pressed Ctrl-C.
    """
    with run_folder(request.keep) as folder:
        run = _Run(request, folder, console)
        try:
            return run.compare(), folder
        except Unfinished:
            raise
        except ParityError as error:
            raise Unfinished(error, folder) from error
        except KeyboardInterrupt:
            raise Interrupted(folder) from None


class _Run:
    def __init__(self, request: Request, folder: Path, console: Console) -> None:
        self.request = request
        self.folder = folder
        self.console = console
        self.timings: dict[str, float] = {}
        self.errors: list[ParityError] = []
        self.notes: dict[str, list[str]] = {"reference": [], "candidate": []}
        self.apart = False

    def compare(self) -> Comparison:
        from parity.data.keep import keep_batches
        from parity.diagnose.judge import judge  # not needed, and not loaded, before both sides are captured

        options = self.request.options
        self._clear()
        reference = _open(self.request.reference, "reference")
        candidate = _open(self.request.candidate, "candidate")
        if reference is None:
            reference = self._reference(self.request.reference, _steps(options.length, candidate))
        if candidate is None:
            candidate = self._candidate(self.request.candidate, _steps(options.length, reference), reference.path)
        exact = not (self.request.reference.is_trace or options.summary or self.apart)
        forced = self._force(reference, candidate) if exact else None
        self.console.begin("comparing")
        start = time.perf_counter()
        given = self.request.reference.is_trace or self.request.candidate.is_trace
        comparison = (judged if given else judge)(reference, candidate, forced, options)
        self._took("comparing", start, f"{len(comparison.findings)} findings")
        comparison.details["timings"] = self.timings
        comparison.reference.notes = [*comparison.reference.notes, *self.notes["reference"]]
        comparison.candidate.notes = [*comparison.candidate.notes, *self.notes["candidate"]]
        if self.request.keep is not None:
            for side, trace in (("reference", reference), ("candidate", candidate)):
                keep_batches(trace, self.folder / "batches" / side)
        if self.errors:
            failed = self.errors[0].message.partition("\n")[0]
            comparison.verdict, comparison.first = "error", None
            comparison.headline = f"{failed}; until then: {comparison.headline}"
        text = dumps(document(comparison, details=True))
        try:
            (self.folder / "comparison.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise disk_full(self.folder, error) from None
        if self.errors:
            raise Unfinished(self.errors[0], self.folder, comparison)
        return comparison

    def _output(self, side: str) -> Path:
        return self.folder / f"{side}.trace"

    def _clear(self) -> None:
        """Removes the traces of an earlier comparison that this one makes anew."""
        for side, subject in (("reference", self.request.reference), ("candidate", self.request.candidate)):
            if not subject.is_trace:
                check_replaceable(self._output(side))
                shutil.rmtree(self._output(side), ignore_errors=True)

    def _reference(self, subject: Subject, steps: int) -> Trace:
        """The reference's trace: that of an earlier run where nothing changed since."""
        output, references = self._output("reference"), References()
        options = self.request.options
        asked = Asked(steps, options.sampled, options.data_batches)
        fresh = self.request.fresh or options.summary
        known = None if fresh else references.find(subject, asked, output)
        if known is not None:
            try:
                trace = Trace(output)
            except TraceError:
                shutil.rmtree(output)
            else:
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(known))
                note = f"it is unchanged, and its run of {when} was used again (--fresh runs it anew)"
                self.notes["reference"].append(note)
                self.console.say(f"reference: {note}")
                self.timings["reference"] = 0.0
                return trace
        inputs = output.with_name(output.name + ".inputs")
        try:
            trace = self._capture("reference", subject, steps, None, inputs=True)
            if trace.meta.complete and inputs.is_file() and not options.summary:
                references.keep(subject, asked, output, inputs)
        finally:
            inputs.unlink(missing_ok=True)
        return trace

    def _candidate(self, subject: Subject, steps: int, reference: Path) -> Trace:
        """The candidate's trace along the reference; its own run where it cannot take the reference's batches."""
        try:
            return self._capture("candidate", subject, steps, reference)
        except BatchesRefused as error:
            self.console.end("failed with the reference's batches")
            refused = error
        try:
            trace = self._capture("candidate", subject, steps, reference, free=True)
        except ParityError:
            raise refused from None
        self.apart = True
        first = refused.message.partition("\n")[0]
        self.notes["candidate"].append(f"{first}; it ran with its own, and what needs equal batches was not compared")
        return trace

    def _capture(
        self, side: str, subject: Subject, steps: int, sync: Path | None, *, inputs: bool = False, free: bool = False
    ) -> Trace:
        """One side's trace; a partial one, and the error noted, where the script came to at least one step."""
        output = self._output(side)
        self.console.begin(f"capturing {side}")
        start = time.perf_counter()
        try:
            path = capture(
                subject.path, output, side=side, args=subject.args, steps=steps, timeout=self.request.timeout,
                python=subject.python, cwd=subject.cwd, log=self.console.forward, sync=sync,
                free=free or self.request.options.free, inputs=inputs,
                data_batches=self.request.options.data_batches,
                limit=self._left(), pins=[(pin.reference, pin.candidate) for pin in self.request.pins],
                summary=self.request.options.summary, sampled=self.request.options.sampled,
            )  # fmt: skip
            trace = Trace(path)
        except BatchesRefused:
            raise
        except (ScriptError, ScriptTimeout, CaptureFailed, OutOfSpace) as error:
            partial = _usable(output.with_name(output.name + ".partial"))
            if partial is None:
                raise
            self.errors.append(error)
            trace = partial
        self._took(side, start, f"{trace.meta.steps} steps")
        return trace

    def _force(self, reference: Trace, candidate: Trace) -> Path | None:
        """The reference's script once more along the candidate's trajectory; None, and the error noted, if it fails."""
        subject = self.request.reference
        script = subject.path if os.path.realpath(subject.cwd) == os.getcwd() else Path(os.path.abspath(subject.path))
        job = Job(
            "force", str(script), list(subject.args), str(self.folder / "forced"),
            min(reference.meta.steps, candidate.meta.steps), reference=str(reference.path.resolve()),
            candidate=str(candidate.path.resolve()), limit=self._left(),
            sampled=self.request.options.sampled,
        )  # fmt: skip
        self.console.begin("forcing the reference along the candidate")
        start = time.perf_counter()
        forced: Path | None = None
        try:
            forced = run_job(
                job, python=subject.python, cwd=subject.cwd, timeout=self.request.timeout * FORCED_PASSES,
                side="reference", log=self.console.forward,
            )  # fmt: skip
        except (ScriptError, ScriptTimeout, CaptureFailed, OutOfSpace) as error:
            self.errors.append(error)
        self._took("forced", start, "done" if forced else "failed")
        return forced

    def _left(self) -> int | None:
        """Bytes that are left of what the traces may take."""
        if self.request.max_disk is None:
            return None
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        return max(0, self.request.max_disk - sum(file.stat().st_size for file in files))

    def _took(self, phase: str, start: float, how: str) -> None:
        self.timings[phase] = time.perf_counter() - start
        self.console.end(f"{how}, {self.timings[phase]:.1f} s")


def _open(subject: Subject, side: str) -> Trace | None:
    """The trace that the user named, None where a script was named."""
    if not subject.is_trace:
        return None
    try:
        return Trace(subject.path)
    except TraceError as error:
        error.side = side
        raise


def _steps(asked: int, other: Trace | None) -> int:
    """Steps to capture: no more than the other side has, unless that one came to its own end."""
    if other is None or (other.meta.complete and not other.meta.stopped):
        return asked
    captured: int = other.meta.steps
    return min(asked, max(1, captured))


def _usable(path: Path) -> Trace | None:
    """A partial trace with at least one complete step."""
    try:
        trace = Trace(path)
    except TraceError:
        return None
    return trace if trace.meta.steps > 0 else None
