"""The script's construction again, under other seeds: the starts of parameters that no call was seen to draw."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from parity.capture.initial import some
from parity.capture.reseed import other_seeds
from parity.capture.run import SEED, run_script, silence
from parity.capture.session import Session, StopRun
from parity.capture.source import Source
from parity.statistics import widen

SECONDS = 5.0
"""Time for all constructions but the first."""

LONGEST = 60.0
"""A script that takes longer to where it was stopped is not run again for this."""

_ENOUGH = 16384
"""Values of one parameter after which no more are needed: scales that differ by 5% show at a level of 1e-6."""

_MOST = 40
"""Constructions at most."""


class _Construction(Session):
    """Follows a script to its model's first call, and reads what the parameters hold then.

    Args:
        source: Which files are the script's own.
        inference: Whether the script only calls its model.
        wanted: Names of the parameters.
    """

    def __init__(self, source: Source, inference: bool, wanted: set[str]) -> None:
        super().__init__(source, 1, inference=inference)
        self.wanted = wanted
        self.found: dict[str, np.ndarray] = {}

    def _on_model(self) -> None:
        self.busy = True
        for held in self.held:
            if held.names[0] in self.wanted:
                self.found[held.names[0]] = some(widen(*self.adapter.read(held.tensor)))
        self.finished = True
        raise StopRun


def constructed(
    script: Path, args: list[str], frameworks: Any, own: dict[str, np.ndarray], inference: bool, seconds: float
) -> dict[str, np.ndarray]:
    """Runs a script's construction again and again.

    Args:
        script: Path of the `.py` file.
        args: Its command-line arguments.
        frameworks: The adapters of the frameworks that it imports.
        own: What parameters held at the model's first call in the recorded run, by name, as `some` chooses.
        inference: Whether the script only calls its model.
        seconds: Time that may be taken.

    Returns:
        Per parameter that starts otherwise under other seeds its values, [constructions, elements]; the first are
        `own`.
    """
    start = time.perf_counter()
    draws = {name: [values] for name, values in own.items()}
    for number in range(1, _MOST + 1):
        wanted = {name for name, rows in draws.items() if len(rows) * rows[0].size < _ENOUGH or len(rows) < 2}
        spent = time.perf_counter() - start
        if not wanted or spent + spent / number > min(seconds, SECONDS):
            break
        found = _construct(script, args, frameworks, inference, wanted, number)
        if not found:
            break  # the script cannot be run twice in one process
        for name in wanted:
            if name not in found or found[name].shape != own[name].shape:
                del draws[name]  # the model itself depends on the seed
            elif np.array_equal(found[name], own[name], equal_nan=True):
                del draws[name]
            else:
                draws[name].append(found[name])
    return {name: np.stack(rows) for name, rows in draws.items() if len(rows) > 1}


def _construct(
    script: Path, args: list[str], frameworks: Any, inference: bool, wanted: set[str], number: int
) -> dict[str, np.ndarray]:
    session = _Construction(Source(script), inference, wanted)
    frameworks.follow(session)
    with silence(), other_seeds(number, frameworks.seeding()):
        run_script(script, args, frameworks.seeders(), SEED + number)
    session.finished = True
    return session.found
