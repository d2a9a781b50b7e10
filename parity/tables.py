"""The commands about the tables of `mappings/`: `parity explain` and `parity mappings check`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from parity import mapping
from parity.errors import Exit, UnknownName
from parity.proofs.check import Outcome, Worker, check, tasks
from parity.report.explain import explanation, rendered
from parity.report.json import dumps
from parity.search import search


def explain(name: str, form: str, write: Callable[[str], None]) -> int:
    """Prints what the tables know about a name of either framework.

    Raises:
        UnknownName: They know none like it.
    """
    entries = search(name)
    if not entries:
        nearest = mapping.suggest(name)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else "see mappings/ for the names that are known"
        raise UnknownName(f"no mapping for {name}", hint=hint)
    if form == "json":
        write(dumps(explanation(entries)))
        return Exit.MATCH
    import io

    from rich.console import Console

    tty = sys.stdout is not None and sys.stdout.isatty()
    console = Console(file=io.StringIO(), force_terminal=tty, width=None if tty else 110, highlight=False)
    with console.capture() as captured:
        console.print(rendered(entries))
    write("\n".join(line.rstrip() for line in captured.get().split("\n")))
    return Exit.MATCH


def check_tables(
    families: Sequence[str],
    names: Sequence[str],
    numeric: bool,
    form: str,
    write: Callable[[str], None],
    progress: Callable[[str], None],
) -> int:
    """Proves entries against the installed frameworks and prints what is not as the tables say.

    Args:
        families: Files of `mappings/torch/` without their ending; all where it is empty.
        names: Full or bare names; all where it is empty.
        numeric: Whether to measure initializers and run the proofs, beside the signatures.
        form: `text` or `json`.
        write: Takes the report.
        progress: Takes a line now and then.

    Returns:
        0 where everything holds, 1 where something has changed.

    Raises:
        UnknownName: There is no such family, or a name is in no table.
    """
    entries = mapping.load()
    for family in families:
        known = sorted({entry.family for entry in entries})
        if family not in known:
            raise UnknownName(f"no family {family}", hint=f"there are {', '.join(known)}")
    wanted: set[tuple[str, str]] = set()
    for name in names:
        found = mapping.find(name)
        if not found:
            raise UnknownName(f"no mapping for {name}", hint=", ".join(mapping.suggest(name)) or None)
        wanted |= {entry.names for entry in found}
    chosen = [e for e in entries if (not families or e.family in families) and (not names or e.names in wanted)]
    listed = tasks(chosen, numeric)
    failed: list[Outcome] = []
    with Worker() as worker:
        for number, outcome in enumerate(check(listed, worker), 1):
            if outcome.problems:
                failed.append(outcome)
                progress(_line(outcome) + f": {outcome.problems[0]}")
            if number % 100 == 0:
                progress(f"{number} of {len(listed)} checks, {len(failed)} failed")
    if form == "json":
        write(dumps(_document(chosen, len(listed), failed)))
    else:
        write(_text(chosen, len(listed), failed))
    return Exit.DIVERGED if failed else Exit.MATCH


def _document(chosen: Sequence[mapping.Entry], count: int, failed: Sequence[Outcome]) -> dict[str, object]:
    return {
        "schema": 1,
        "entries": len(chosen),
        "checks": count,
        "verified": mapping.VERIFIED,
        "changed": [
            {
                "reference": outcome.task.entry.reference,
                "candidate": outcome.task.entry.candidate,
                "family": outcome.task.entry.family,
                "check": outcome.task.what,
                "problems": outcome.problems,
            }
            for outcome in failed
        ],
    }


def _text(chosen: Sequence[mapping.Entry], count: int, failed: Sequence[Outcome]) -> str:
    lines = []
    for outcome in failed:
        lines.append(_line(outcome))
        lines += [f"  {problem}" for problem in outcome.problems]
    versions = ", ".join(f"{name} {version}" for name, version in mapping.VERIFIED.items())
    ending = f"{len(failed)} have changed" if failed else "all hold"
    lines.append(f"{len(chosen)} entries (written for {versions}), {count} checks: {ending}")
    return "\n".join(lines) + "\n"


def _line(outcome: Outcome) -> str:
    entry = outcome.task.entry
    what = f"proof {outcome.task.what}" if isinstance(outcome.task.what, int) else outcome.task.what
    return f"{entry.family}: {entry.reference} -> {entry.candidate}, {what}"
