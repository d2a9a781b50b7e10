"""The health of each side's data: missing values, labels out of range, rare classes, constant or unscaled features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.diagnose.loading.epochs import at, finding
from parity.diagnose.loading.loaders import Loader
from parity.document import Finding
from parity.model import CallEvent, ColumnStatistics
from parity.trace import Trace

_RARE = 20
"""How much rarer than the most frequent class another may be."""

_LARGE = 30.0
"""RMS of a float column above which it counts as not normalised."""

_UNEVEN = 1e3
"""How much larger than another the values of one feature may be."""

_PER_SAMPLE = 1e4
"""Trainable parameters for each sample above which there are too few samples."""


class Ailment(NamedTuple):
    """Something unhealthy in a column: a slug, and what it is."""

    kind: str
    text: str


def health_findings(mine: Loader | None, theirs: Loader | None) -> list[Finding]:
    """What is unhealthy: a warning where one side has it alone, a note where both do."""
    sides = [ailments(loader) if loader is not None else [] for loader in (mine, theirs)]
    found = []
    for loader, own, others in ((mine, sides[0], sides[1]), (theirs, sides[1], sides[0])):
        for ailment in own:
            both = ailment.kind in [other.kind for other in others]
            if loader is None or (both and loader is mine):
                continue
            side = " (and so does the reference's)" if both else ""
            place = loader.place()
            text = f"{at(place)}: {ailment.text}{side}"
            places = (place, None) if loader is mine else (None, place)
            found.append(finding(ailment.kind, "note" if both else "warning", text, *places))
    return found


def ailments(loader: Loader) -> list[Ailment]:
    """What is unhealthy in one loader's epoch."""
    if loader.epoch is None:
        return []
    found: list[Ailment] = []
    classes = _outputs(loader.trace)
    for item, column in zip(loader.columns, loader.epoch.columns, strict=False):
        floats = item.ref.dtype.startswith(("float", "bfloat"))
        found += _values(column, len(item.ref.shape), floats)
        if not floats and len(item.ref.shape) == 1:
            found += _labels(column, classes)
    parameters = sum(int(np.prod(p.shape)) for p in loader.trace.parameters if p.trainable)
    if loader.complete and loader.epoch.samples and parameters > _PER_SAMPLE * loader.epoch.samples:
        text = f"an epoch has {loader.epoch.samples} samples for {parameters:,} trainable parameters"
        found.append(Ailment("few-samples", text))
    return list({ailment.kind: ailment for ailment in reversed(found)}.values())[::-1]


def _values(column: ColumnStatistics, ndim: int, floats: bool) -> list[Ailment]:
    """Missing values, features that say nothing, and scales."""
    found = []
    if column.nonfinite:
        text = f"column {column.name} has {column.nonfinite} NaN or Inf of {column.values} values"
        found.append(Ailment("missing-values", text))
    if column.minimum is not None and column.minimum == column.maximum and column.samples > 1:
        text = f"column {column.name} is {column.minimum:g} everywhere"
        return [*found, Ailment("constant-feature", text)]
    means, deviations = (np.array(part.get("-1", [])) for part in (column.means, column.deviations))
    if ndim == 2 and floats and len(deviations) and not np.isclose(means.sum(), 1):  # one-hot labels
        flat = np.flatnonzero(deviations <= 1e-12 * np.maximum(np.abs(means), 1e-300))
        if len(flat) and column.samples > 1:
            text = f"column {column.name}: {len(flat)} of {len(deviations)} features never change (number {flat[0]})"
            found.append(Ailment("constant-feature", text))
        size = np.sqrt(means**2 + deviations**2)
        size = size[size > 0]
        if len(size) > 1 and size.max() > _UNEVEN * np.median(size):
            text = f"column {column.name}: features have scales from {size.min():.3g} to {size.max():.3g}"
            found.append(Ailment("unscaled", text))
    key = next((k for k in ("1", "-1", "0") if k in column.means), None)
    if floats and ndim > 1 and key is not None:
        rms = float(np.sqrt(np.mean(np.square(column.means[key]) + np.square(column.deviations[key]))))
        if rms > _LARGE:
            text = f"column {column.name} is not normalised: values up to {column.maximum:g}, RMS {rms:.3g}"
            found.append(Ailment("unscaled", text))
    return found


def _labels(column: ColumnStatistics, outputs: int | None) -> list[Ailment]:
    """Class numbers: their range and their balance."""
    if not column.classes or column.minimum is None or column.maximum is None:
        return []
    found = []
    if outputs is not None and outputs > 2 and column.maximum >= outputs:
        text = f"labels go up to {column.maximum:g}, the model's output has {outputs} classes"
        found.append(Ailment("label-range", text))
    counts = {int(k): n for k, n in column.classes.items() if int(k) >= 0}
    if 2 <= len(counts) <= 100 and sum(counts.values()) >= 20 * len(counts):
        most, least = max(counts, key=lambda k: counts[k]), min(counts, key=lambda k: counts[k])
        if counts[most] > _RARE * counts[least]:
            text = f"class {least} has {counts[least]} samples, class {most} has {counts[most]}"
            found.append(Ailment("class-balance", text))
    return found


def _outputs(trace: Trace) -> int | None:
    """Extent of the class axis of what the model gives, [N, C]; None where it is something else."""
    roots = {layer.id for layer in trace.layers if layer.root}
    call = next((c for c in trace.of(CallEvent, 0) if c.layer in roots), None)
    if call is None or len(call.outputs) != 1 or len(call.outputs[0].ref.shape) != 2:
        return None
    return int(call.outputs[0].ref.shape[1])
