"""Proves entries, one after the other: `python -m parity.proofs.worker`. It may die in a kernel; the parent lives on.

Each line of standard input is a task `[reference, candidate, what]`, `what` being `signature`, `initializers` or the
number of a proof; each line of standard output the answer `[problems, raised]`: a list of texts, and whether the
candidate had already raised in this process, after which some of its kernels fail.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import msgspec

from parity import mapping
from parity.proofs.prove import Fails, Sides
from parity.proofs.signatures import problems
from parity.transforms import Unknown


def _entry(reference: str, candidate: str) -> mapping.Entry:
    return next(entry for entry in mapping.find(reference) if entry.names == (reference, candidate))


def answer(sides: Sides, reference: str, candidate: str, what: Any) -> list[str]:
    """The problems of one task."""
    entry = _entry(reference, candidate)
    if what == "signature":
        found = list(problems(entry, "reference"))
        return found + (list(problems(entry, "candidate")) if entry.candidate else [])
    try:
        if what == "initializers":
            return list(sides.initializers(entry))
        return sides.problems(entry, entry.proof[int(what)])
    except Unknown:
        return ["an argument of the proof cannot be converted by the entry's transforms"]
    except Fails as failure:
        return [str(failure)] if entry.cpu is None else []


def main() -> None:
    """Answers until standard input ends."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what the frameworks print belongs to no answer
    sides = Sides()
    for line in sys.stdin:
        reference, candidate, what = msgspec.json.decode(line)
        raised = sides.raised
        try:
            found = answer(sides, reference, candidate, what)
        except Exception as error:  # one bad entry must not hide the others' results
            found = [f"the proof cannot be carried out: {type(error).__name__}: {error}"]
        answers.write(msgspec.json.encode([found, raised]).decode() + "\n")
    answers.flush()
    os._exit(0)  # destructors of cells print thousands of ignored exceptions otherwise


if __name__ == "__main__":
    main()
