"""Tables with a padding row: PyTorch keeps its gradient at zero, MindSpore only starts it from zero."""

from __future__ import annotations

import numpy as np

from parity.document import Cause, Finding
from parity.model import ParameterGradEvent
from parity.trace import Trace

_SAME = 1e-3
"""Relative distance of the other rows' gradients: two runs that began equal, in the first steps."""


def name_padding(findings: list[Finding], reference: Trace, candidate: Trace) -> None:
    """Says of a table's gradient that it differs in the padding row only, where it does.

    Args:
        findings: All findings; those of tables are changed in place.
        reference: The reference's trace.
        candidate: The candidate's trace.
    """
    layers = {layer.path: layer for layer in reference.layers}
    for finding in findings:
        if (
            finding.stage != "backward"
            or finding.kind != "unexplained"
            or not (finding.reference and finding.candidate)
        ):
            continue
        layer = layers.get(finding.reference.path.rpartition(".")[0])
        row = layer.arguments.get("padding_idx") if layer is not None else None
        if not isinstance(row, int) or isinstance(row, bool):
            continue
        mine = _gradient(reference, finding.step, finding.reference.path)
        theirs = _gradient(candidate, finding.step, finding.candidate.path)
        if mine is None or theirs is None or mine.shape != theirs.shape or mine.ndim != 2:
            continue
        others = np.arange(len(mine)) != row % len(mine)
        apart = np.linalg.norm(mine[others] - theirs[others])
        if mine[row].any() or not theirs[row].any() or apart > _SAME * np.linalg.norm(mine[others]):
            continue
        text = (
            f"only row {row} differs, which is padding_idx: PyTorch's Embedding keeps its gradient at zero, "
            "MindSpore's nn.Embedding sets the row to zero once and then trains it"
        )
        finding.kind, finding.cause = "padding-idx", Cause(text, 0.95, finding.message)
        finding.message += f"; {text}"
        finding.fix = f"ops.where((ids == {row}).expand_dims(-1), ops.stop_gradient(out), out) behind the embedding"


def _gradient(trace: Trace, step: int | None, name: str) -> np.ndarray | None:
    """What one backward pass of a step made for a parameter, float64; None where it is not one."""
    events = [event for event in trace.of(ParameterGradEvent, step) if event.name == name]
    return np.asarray(trace.array(events[0].ref), np.float64) if len(events) == 1 else None
