"""The forced run: the reference script again, in float64, along the candidate's recorded trajectory.

At every boundary the candidate's value is compared with what the reference's own code makes there, and the run goes on
with the candidate's: forward, backward, and at the optimizer. Four passes over the same script: float64 (the values),
float32 (the reference's own rounding), and twice float64 with every forced value moved by a unit of rounding (how
rounding that enters before a place shows there).
"""

from __future__ import annotations

import gc
import math
import time
from pathlib import Path
from typing import Any

import msgspec

from parity.align.candidate import Candidate
from parity.align.parameters import Mapping
from parity.capture import run as runner
from parity.capture.envelope import RUNS, Perturbed
from parity.capture.force import Forcer
from parity.capture.force_sampled import SampledForcer
from parity.capture.job import Job
from parity.capture.source import Source
from parity.capture.store import Store
from parity.errors import CaptureFailed
from parity.measured import Forced, write_forced
from parity.trace import Trace, loss_curve

PROBES = 2
"""Passes with moved values."""


def run_forced(job: Job, frameworks: Any) -> int:
    """Runs the passes and writes `forced.json` below `job.output`.

    Raises:
        CaptureFailed: The script fails when it is run again, in float64 and in float32.
    """
    assert job.reference is not None and job.candidate is not None
    reference, trace = Trace(job.reference), Trace(job.candidate)
    mapping = msgspec.convert({k: v for k, v in (trace.meta.mapping or {}).items() if k in ("pairs", "nodes")}, Mapping)
    candidate = Candidate(trace, reference, mapping)
    store = Store(Path(job.output), job.limit)
    forced = Forced(steps=job.steps)
    base = "float64"
    passes = ["float64", "float32", *["probe"] * PROBES]
    while passes:
        kind = passes.pop(0)
        start = time.perf_counter()
        source = Source(Path(job.script))
        session = (Forcer if job.sampled is None else SampledForcer)(
            source, job.steps, reference, candidate, kind, base, store
        )
        session.sampled = None if job.sampled is None else frozenset(job.sampled)
        session.inference = reference.meta.inference
        session.evaluates = candidate.evaluated(job.steps)
        frameworks.follow(session)
        with runner.silence():
            outcome = runner.run_script(Path(job.script), job.args, frameworks.seeders())
        session.script_ended(outcome.kind == "ended")
        session.finish()
        short = outcome.kind == "failed" and session.step < min(job.steps, reference.meta.steps)
        if short and kind == "float64" and base == "float64":
            base = "float32"
            forced.precision = "float32"
            forced.notes.append(f"the reference does not run in float64 ({outcome.error}): it was forced in float32")
            passes = ["float64", *["probe"] * PROBES]
            store.clear()
            continue
        if outcome.kind == "failed" and session.step < 1:
            raise CaptureFailed(
                f"the reference script failed when run again for the forced run: {outcome.error}\n{outcome.text}",
                side="reference",
                hint="the script must be able to run twice from its start; `--free` compares without the forced run",
            )
        if kind == "float64":
            forced.ops = session.ops
            forced.losses = session.loss_tags
            forced.candidate_best = session.candidate_best
            forced.candidate_moved = session.candidate_moved
            forced.paired = session.paired
            forced.steps = session.step
            forced.notes += session.notes
        key = f"{kind} {len(forced.timings)}"
        forced.timings[key] = time.perf_counter() - start
        runner._HELD.clear()
        gc.collect()
    if job.sampled is not None:
        forced.curves = _curves(job, frameworks, reference, forced)
    forced.measured = store.records()
    forced.scale = {str(step): factor for step, factor in store.scales.items()}
    _accumulated(forced, reference, candidate)
    store.close()
    write_forced(Path(job.output), forced)
    return 0


def _curves(job: Job, frameworks: Any, reference: Trace, forced: Forced) -> list[list[float]]:
    """Losses of the reference with moved weights; later runs need not go further than earlier ones could."""
    losses = loss_curve(reference)
    curves: list[list[float]] = []
    steps = job.steps
    for number in range(RUNS):
        start = time.perf_counter()
        session = Perturbed(Source(Path(job.script)), steps, losses, number)
        frameworks.follow(session)
        with runner.silence():
            runner.run_script(Path(job.script), job.args, frameworks.seeders())
        curves.append(session.found)
        steps = min(steps, len(session.found))
        forced.timings[f"moved {number}"] = time.perf_counter() - start
        runner._HELD.clear()
        gc.collect()
    return curves


def _accumulated(forced: Forced, reference: Trace, candidate: Candidate) -> None:
    """Adds, for information, how far the candidate's outputs are from the reference's own run."""
    for record in forced.measured:
        if record.kind == "output" and not record.mismatch:
            record.accumulated = candidate.accumulated(reference, record)
            if record.accumulated is not None and not math.isfinite(record.accumulated):
                record.accumulated = None
