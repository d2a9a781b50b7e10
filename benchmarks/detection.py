"""Measures the tool: how many known faults it finds and places, and how often it cries wolf.

    python benchmarks/detection.py [--short] [--architecture NAME ...] [--fault NAME ...] [--jobs 2]
                                   [--parity "python -m parity"] [--json OUT] [--keep DIR]
    python benchmarks/detection.py --check      # only proves that every edit of the corpus applies
    python benchmarks/detection.py --effects    # measures the faults' true effects anew (see effects.py)

A fault counts as *detected* where the comparison's verdict is diverged (exit code 1), and as *first* where its first
finding has a stage and a layer that the corpus accepts; a benign rewrite passes where the exit code is 0 and no finding
is a fault. The exit code is 0 where every fault that was run is first and every rewrite passes, 1 where one does not,
2 where the corpus itself is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corpus import Variant, architectures, cached_effects, check, load
from effects import CLASSES, ProbeError, bucket, save

TIMEOUT = 300
PASSED = {"first", "clean"}


@dataclass(frozen=True)
class Score:
    """What became of one variant.

    Attributes:
        outcome: For a fault `first`, `misplaced` or `missed`; for a rewrite `clean` or `false alarm`; for either
            `inconclusive`, `error` or `timeout`.
        found: The first finding, in short, or the message of an error.
        seconds: The wall time of the comparison.
        effect: The fault's true effect; None for a rewrite, and for a fault that changes no tensor.
        computed: Whether it lies in what is computed, and not in the data or the initial values.
    """

    architecture: str
    name: str
    kind: str
    outcome: str
    found: str
    seconds: float
    effect: float | None
    computed: bool = True

    @property
    def benign(self) -> bool:
        """Whether there was nothing to find."""
        return not self.kind

    @property
    def passed(self) -> bool:
        """Whether the comparison said what it must."""
        return self.outcome in PASSED


def judge(variant: Variant, returncode: int, document: dict[str, Any]) -> tuple[str, str]:
    """Gives the outcome and the first finding in short, from what the comparison returned and printed."""
    if returncode == 3:
        return "inconclusive", str(document.get("headline", ""))
    if returncode not in (0, 1):
        return "error", str(document.get("error", {}).get("message", f"exit code {returncode}"))
    findings: list[dict[str, Any]] = document.get("findings", [])
    index = document.get("first")
    first = findings[index] if index is not None else None
    if variant.benign:
        faults = [finding for finding in findings if finding["severity"] == "fault"]
        if returncode == 1 or faults:
            return "false alarm", describe(first or next(iter(faults), None))
        return "clean", ""
    if returncode == 0:
        return "missed", ""
    return ("first" if placed(variant, first) else "misplaced"), describe(first)


def placed(variant: Variant, finding: dict[str, Any] | None) -> bool:
    """Whether a finding has a stage and a place that the corpus accepts for this fault."""
    if finding is None or finding["stage"] not in variant.stage:
        return False
    return within(_path(finding, "candidate"), variant.candidate) or within(
        _path(finding, "reference"), variant.reference
    )


def within(path: str | None, accepted: Iterable[str]) -> bool:
    """Whether a path is one of the accepted ones, or inside one; "" accepts nothing but itself."""
    if path is None:
        return False
    return any(path == place or (place and path.startswith(f"{place}.")) for place in accepted)


def describe(finding: dict[str, Any] | None) -> str:
    """Puts a finding into one short line."""
    if finding is None:
        return "no finding"
    candidate, reference = (_path(finding, side) for side in ("candidate", "reference"))
    return f"{finding['stage']}: {finding['kind']} at {candidate!r} / {reference!r}"


def _path(finding: dict[str, Any], side: str) -> str | None:
    path: str | None = (finding.get(side) or {}).get("path")
    return path


def write(variant: Variant, folder: Path) -> tuple[Path, Path]:
    """Writes the pair of scripts into a folder and says which two to compare.

    A reference that the variant leaves as it is stands once for its architecture, and is run once.
    """
    variant.write(folder)
    reference = folder / "ref.py"
    if not variant.edits_ref:
        reference = Path(shutil.copy2(reference, folder.parent))
    return reference, folder / "ms.py"


def compare(variant: Variant, command: list[str], reference: Path, candidate: Path) -> Score:
    """Compares a pair with the tool and scores the answer."""
    folder = candidate.parent
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    start = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "compare", str(reference), str(candidate), "--format", "json"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            cwd=folder.parent,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        outcome, found = "timeout", f"no answer after {TIMEOUT} seconds"
    else:
        (folder / "comparison.json").write_text(done.stdout, encoding="utf-8")
        (folder / "stderr.txt").write_text(done.stderr, encoding="utf-8")
        try:
            outcome, found = judge(variant, done.returncode, json.loads(done.stdout))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            outcome, found = "error", f"not a comparison document ({error!r}); exit code {done.returncode}; {last}"
    seconds = time.monotonic() - start
    effect = cached_effects(variant.architecture).get(variant.name, {}).get("effect")
    computed = bool(set(variant.stage) - {"data", "initialization"}) or variant.benign
    return Score(variant.architecture, variant.name, variant.kind, outcome, found, round(seconds, 1), effect, computed)


def run(variants: list[Variant], command: list[str], jobs: int, keep: Path | None) -> list[Score]:
    """Scores all variants, `jobs` at a time, and prints each as it comes."""
    scores = []
    with ExitStack() as stack:
        root = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-detection-")))
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        pairs = [write(variant, (root / variant.architecture / variant.name).resolve()) for variant in variants]
        pending = [pool.submit(compare, variant, command, *pair) for variant, pair in zip(variants, pairs, strict=True)]
        for future in as_completed(pending):
            score = future.result()
            scores.append(score)
            size = "" if score.benign else ("none" if score.effect is None else f"{score.effect:.0e}")
            mark = "  " if score.passed else "! "
            name = f"{score.architecture}/{score.name}"
            print(f"{mark}{name:38} {size:6} {score.outcome:12} {score.seconds:5.0f} s  {score.found}", flush=True)
    order = {variant.label: number for number, variant in enumerate(variants)}
    return sorted(scores, key=lambda score: order[f"{score.architecture}/{score.name}"])


def summary(scores: list[Score]) -> dict[str, Any]:
    """Counts the outcomes; faults by the size of their true effect, those of data and initial values apart.

    With equal weights and batches, which parity sees to, the latter change nothing that is computed.
    """
    benign = [score for score in scores if score.benign]
    faults = [score for score in scores if not score.benign]
    classes = {}
    for name in (*CLASSES, "other stages"):
        members = [score for score in faults if (bucket(score.effect) if score.computed else "other stages") == name]
        classes[name] = {
            "faults": len(members),
            "detected": sum(score.outcome in ("first", "misplaced") for score in members),
            "first": sum(score.outcome == "first" for score in members),
        }
    return {
        "benign": {
            "runs": len(benign),
            "false_alarms": sum(score.outcome == "false alarm" for score in benign),
            "clean": sum(score.outcome == "clean" for score in benign),
        },
        "faults": classes,
    }


def print_summary(totals: dict[str, Any], seconds: float) -> None:
    """Prints the totals as a table."""
    benign = totals["benign"]
    print(f"\nfalse alarms: {benign['false_alarms']} / {benign['runs']}  (judged clean: {benign['clean']})")
    print(f"{'effect':12} {'faults':>6} {'detected':>8} {'first':>6}")
    rows = [*totals["faults"].items()]
    rows.append(("all", {key: sum(row[key] for _, row in rows) for key in ("faults", "detected", "first")}))
    for name, row in rows:
        print(f"{name:12} {row['faults']:6} {row['detected']:8} {row['first']:6}")
    print(f"wall time: {seconds / 60:.1f} min")


def select(args: argparse.Namespace) -> list[Variant]:
    """Gives the variants that the command line asks for."""
    variants = [variant for name in args.architecture or architectures() for variant in load(name)]
    if args.fault:
        return [variant for variant in variants if variant.name in args.fault or variant.label in args.fault]
    return [variant for variant in variants if variant.short or not args.short]


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="only the fixed sample that CI runs")
    parser.add_argument("--architecture", nargs="+", choices=architectures(), metavar="NAME")
    parser.add_argument("--fault", nargs="+", metavar="NAME", help="only these variants (benign ones too)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--parity", default=f"{shlex.quote(sys.executable)} -m parity", help="the tool's command")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every score and the totals here")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave scripts and comparisons in this folder")
    parser.add_argument("--check", action="store_true", help="only check the corpus, run nothing")
    parser.add_argument("--effects", action="store_true", help="only measure the true effects anew and save them")
    args = parser.parse_args()
    variants = select(args)
    problems = check(variants)
    if not args.effects:
        problems += [
            f"{variant.label}: no effect measured for this edit yet, run --effects"
            for variant in variants
            if not variant.benign
            and cached_effects(variant.architecture).get(variant.name, {}).get("digest") != variant.digest()
        ]
    if problems or not variants:
        print("\n".join(problems) or "nothing to run", file=sys.stderr)
        return 2
    if args.check:
        print(f"{len(variants)} variants: every edit applies exactly once, every effect is up to date")
        return 0
    if args.effects:
        return measure_effects(variants, args.jobs)
    start = time.monotonic()
    scores = run(variants, shlex.split(args.parity), args.jobs, args.keep)
    seconds = time.monotonic() - start
    totals = summary(scores)
    print_summary(totals, seconds)
    if args.json:
        document = {"totals": totals, "seconds": round(seconds, 1), "scores": [asdict(score) for score in scores]}
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if all(score.passed for score in scores) else 1


def measure_effects(variants: list[Variant], jobs: int) -> int:
    """Writes `effects.json` of every architecture among the variants and prints what was measured."""
    for architecture in sorted({variant.architecture for variant in variants}):
        faults = [variant for variant in load(architecture) if not variant.benign]
        try:
            effects = save(architecture, faults, jobs)
        except ProbeError as error:
            print(error, file=sys.stderr)
            return 2
        for name, effect in effects.items():
            size = "none" if effect.value is None else f"{effect.value:.1e}"
            print(f"{architecture + '/' + name:44} {size:8} {effect.place}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
