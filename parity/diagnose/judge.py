"""From two traces and a forced run to the comparison document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from parity.compare.accumulated import accumulated as compare_traces
from parity.compare.coverage import stages_of, unaligned_of, uncovered
from parity.compare.faults import Judged, judged_records
from parity.compare.summary import summarised
from parity.diagnose import accumulated, data, environment, hyperparameters, initialization, structure, updates
from parity.diagnose.decided import settle
from parity.diagnose.findings import findings_of
from parity.diagnose.join import joined
from parity.diagnose.metric_values import metric_values
from parity.diagnose.network import networks
from parity.diagnose.stage import Context, Result, chosen
from parity.diagnose.training import judge as judge_training
from parity.diagnose.tree.lone_layers import lone_layers
from parity.diagnose.tree.wiring import explain_order
from parity.document import STAGES, Comparison, Finding, Place, Side
from parity.errors import TraceError
from parity.measured import Forced, read_forced
from parity.trace import Trace

_JUDGES: dict[str, Callable[[Context], Result]] = {
    "environment": environment.judge,
    "hyperparameters": hyperparameters.judge,
    "structure": structure.judge,
    "initialization": initialization.judge,
    "data": data.judge,
}
"""The stages that judge more than what the forced run measured, by name, in their order."""


def judge(reference: Trace, candidate: Trace, forced: Path | None, options: Any) -> Comparison:
    """Judges one pair of runs.

    Args:
        reference: The reference's trace.
        candidate: The candidate's trace, synchronised with it.
        forced: The folder of the forced run, None where there was none.
        options: Flags of the command line (`only`, `skip`, `strict`, `rtol`, `atol`).

    Returns:
        The document, findings in order of birth.
    """
    if forced is not None:
        measured = read_forced(forced)
        records = judged_records(measured, options)
        seen, brief = None, False
    else:
        brief = any(trace.meta.environment.get("summary") for trace in (reference, candidate))
        seen = summarised(reference, candidate) if brief else compare_traces(reference, candidate, options)
        measured, records = Forced(), seen.judged
    wanted = chosen(options)
    context = Context(reference, candidate, measured, records, options)
    results = _results(context, wanted, brief)
    behind: dict[int, set[str]] = {}
    unexplained = _unexplained(records, list(results.values()))
    findings = (
        findings_of(unexplained, measured, reference, candidate, behind) if seen is None else
        accumulated.findings(seen._replace(judged=unexplained), reference, candidate)
    )  # fmt: skip
    carriers = [f for r in results.values() for f in r.findings if f.stage == "data" or f.kind == "batch-size"]
    spoiled = data.echoes(carriers, findings)
    findings, folded = joined(list(results.values()), [f for f in findings if f not in spoiled], behind)
    shape = "structure" if "structure" in wanted else "forward"
    findings, reordered = explain_order(findings, reference, candidate, shape)
    findings, moved = lone_layers(findings, reference, candidate, shape)
    folded += spoiled + reordered + moved
    findings += updates.findings(reference, candidate) or _step_count(reference, candidate)
    faults = [f for f in _ordered(findings) if f.severity == "fault" and f.status != "propagated"]
    trained, curve = judge_training(context, faults) if "training" in wanted and not brief else ([], None)
    findings += trained
    valued, values = metric_values(reference, candidate) if "metrics" in wanted and not brief else ([], 0)
    findings += valued
    findings += [_note(text) for text in candidate.meta.notes]
    findings = [f for f in findings if f.stage in wanted or f.stage == "environment"]
    if getattr(options, "strict", False):
        for finding in findings:
            if finding.severity == "warning":
                finding.severity = "fault"
    findings = _ordered(settle(findings, options))
    stages = stages_of(records, findings, measured, reference, candidate, wanted)
    if values:
        stages["metrics"].compared += values
        stages["metrics"].total += values
        stages["metrics"].status = "match" if stages["metrics"].status == "absent" else stages["metrics"].status
    if curve is not None and curve.status != "skipped":
        stages["training"] = curve
    for name, result in results.items():
        stages[name] = result.stage
        result.stage.diverged = sum(f.stage == name and f.severity == "fault" for f in findings)
        if result.stage.diverged:
            result.stage.status = "diverged"
        elif result.stage.status == "diverged":
            result.stage.status = "match"  # what differed there was accepted
    for finding in folded:
        stage = stages[finding.stage]
        if finding.severity == "fault" and stage.status == "match":
            stage.status, stage.note = "diverged", "what diverges is evidence of an earlier stage's finding"
        stage.diverged += finding.severity == "fault"
    open_questions = [] if seen is None else [*seen.missing, *accumulated.doubts(seen)]
    missing = open_questions or uncovered(records, measured, reference, candidate, getattr(options, "ignored", ()))
    comparison = _verdict(findings, stages, missing, measured, reference, candidate)
    listed = [row for result in results.values() for row in result.listed]
    comparison.details["declared"] = msgspec.to_builtins(listed, str_keys=True)
    comparison.details["graph"] = networks(reference, candidate, comparison.findings)
    if seen is not None:
        comparison.headline += f"; {seen.how}"
    return comparison


def _results(context: Context, wanted: set[str], brief: bool) -> dict[str, Result]:
    """What the chosen stages find; of a brief look, those that need no tensors."""
    results = {}
    for name, run in _JUDGES.items():
        if name in wanted:
            try:
                results[name] = run(context)
            except TraceError:
                if not brief:
                    raise
    return results


def _unexplained(records: list[Judged], results: list[Result]) -> list[Judged]:
    """The measured places without the updates of parameters that are known not to be trained on one side."""
    known = {path for result in results for claim in result.claims.values() for path in claim.reference}
    return [j for j in records if j.record.kind not in ("given", "parameter") or j.record.path not in known]


def _note(text: str) -> Finding:
    """What the capture has to say about a run."""
    return Finding("mode", "environment", "note", None, None, None, None, None, None, None, None, text)


def _step_count(reference: Trace, candidate: Trace) -> list[Finding]:
    mine, theirs = reference.meta, candidate.meta
    if mine.steps == theirs.steps or not (mine.complete and theirs.complete):
        return []
    message = f"the reference made {mine.steps} training steps, the candidate {theirs.steps}"
    return [
        Finding(
            "step-count", "training", "fault", "introduced", min(mine.steps, theirs.steps), None,
            Place("", value=mine.steps), Place("", value=theirs.steps), None, None, None, message,
        )
    ]  # fmt: skip


def _ordered(findings: list[Finding]) -> list[Finding]:
    rank = {stage: number for number, stage in enumerate(STAGES)}
    kept = list(enumerate(findings))
    kept.sort(key=lambda pair: (rank[pair[1].stage], pair[1].step if pair[1].step is not None else -1, pair[0]))
    return [finding for _, finding in kept]


def _verdict(
    findings: list[Finding], stages: dict[str, Any], missing: list[str], measured: Forced, reference: Trace,
    candidate: Trace,
) -> Comparison:  # fmt: skip
    first = next((i for i, f in enumerate(findings) if f.severity == "fault" and f.status != "propagated"), None)
    checked = [s for s in STAGES if s in stages and stages[s].status in ("match", "diverged")]
    if first is not None:
        verdict, headline = "diverged", findings[first].message
    elif missing:
        verdict, headline = "inconclusive", "not enough was compared: " + "; ".join(missing[:3])
    else:
        others = [s for s in STAGES if s in stages and stages[s].status == "skipped"]
        verdict = "match"
        headline = f"match in {', '.join(checked)}" + (f"; {', '.join(others)} not checked" if others else "")
        warned = sum(f.severity == "warning" for f in findings)
        headline += f"; {warned} warning{'s' * (warned > 1)}" if warned else ""
    sides = [
        Side(t.meta.command, t.meta.framework, t.meta.version, t.meta.python, t.meta.steps, t.meta.notes)
        for t in (reference, candidate)
    ]
    details = {
        "precision": measured.precision,
        "forced_notes": measured.notes,
        "missing": missing,
        "unmapped": candidate.meta.unmapped,
        "measured": len(measured.measured),
        "forced_timings": measured.timings,
    }
    return Comparison(
        verdict, headline, first if verdict == "diverged" else None, findings, stages,
        unaligned_of(measured, reference, candidate), sides[0], sides[1], details,
    )  # fmt: skip
