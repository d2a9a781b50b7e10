"""The batches that a trace holds as `.npy` files, so that other tools (and `parity data`) can read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parity.model import BatchEvent
from parity.trace import Trace


def keep_batches(trace: Trace, folder: Path) -> int:
    """Writes each batch that a loader gave, as the side itself had it, to `folder/step_STEP_batch_BATCH_COLUMN.npy`.

    Columns are numbered, because the two sides may call them differently.

    Args:
        trace: One side.
        folder: Not made where there is nothing to write.

    Returns:
        How many files were written.
    """
    count = 0
    for batch in trace.of(BatchEvent):
        for column, item in enumerate(batch.items):
            folder.mkdir(parents=True, exist_ok=True)
            name = f"step_{batch.step:04}_batch_{batch.index:04}_{column}.npy"
            np.save(folder / name, trace.array(item.ref), allow_pickle=False)
            count += 1
    return count
