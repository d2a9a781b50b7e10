"""What the parent asks of an instrumented process: `python -m parity.capture job.json`."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct):
    """One run of one script.

    `kind` is `record` (write a trace), `sync` (write a trace, started from `reference`'s weights and batches),
    `free` (the same without them: the parameters are only paired)
    or `force` (run the reference script along `candidate`'s trajectory; `mapping` pairs the parameters).
    `inputs` asks for what the run depended on, as `NAME.trace.inputs`; `noise` for the noise passes of a reference.
    `limit` is how many bytes the output may take; `pins` are pairs of layers that the user has fixed;
    `summary` leaves the values of tensors out that no other run needs.
    `sampled` are the steps that are followed closely, None for all; with them, a `force` job also runs the reference
    with moved weights.
    `data_batches` limits how many batches of each loader are read alone after a recorded run, which `timeout`
    (seconds for the whole process) ends as well.
    """

    kind: str
    script: str
    args: list[str]
    output: str
    steps: int
    reference: str | None = None
    candidate: str | None = None
    side: str = "reference"
    data_batches: int = 200
    timeout: float = 600.0
    inputs: bool = False
    noise: bool = False
    limit: int | None = None
    summary: bool = False
    pins: list[tuple[str, str]] = []
    sampled: list[int] | None = None
