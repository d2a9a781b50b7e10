"""An op that only one side applies, told from one that both apply to another effect."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from parity.diagnose.graph import CandidateOp, Flow
from parity.diagnose.names import Names
from parity.document import Cause, Finding, Place
from parity.measured import ForcedOp, Measured

MISSING, EXTRA, OTHER = "op-missing", "op-extra", "op-type"
"""Slugs of an op that the candidate lacks, of one that only it has, and of one for another."""


def name_lone_op(
    finding: Finding, record: Measured, ops: Sequence[ForcedOp], others: Sequence[CandidateOp], flow: Flow, mine: Names
) -> str:
    """Says of a divergence that one side applies an op which the other lacks, where that is so.

    Args:
        finding: The divergence; changed in place.
        record: What was measured of it.
        ops: The reference's ops in the piece before it that have no counterpart by value, in order.
        others: The candidate's.
        flow: The data flow of the forced run.
        mine: The reference's layers.

    Returns:
        What the candidate does other than the reference, in words; empty where it is not that.
    """
    others = [op for op in others if not flow.ops[op.order].view]  # what only rearranges stands for no op
    own, other = (Counter(filter(None, (plain(op.name) for op in side))) for side in (ops, others))
    evidence = finding.cause.evidence if finding.cause is not None else ""
    if own > other and (own - other)[plain(ops[0].name)] and not ops[0].view:
        op = ops[0]
        finding.kind = MISSING
        text = f"the reference applies {op.name} ({op.file}:{op.line}), which the candidate lacks"
        before = next((flow.boundary[tag].candidate for tag in op.inputs if tag in flow.boundary), None)
        behind = f" to what leaves {before}" if before else ""
        finding.cause = Cause(text, 0.8, evidence)
        finding.fix = f"apply {op.name}{behind}"
        path = _enclosing(op.path.rpartition(".")[0] if mine.leaf(op.path) else op.path, flow)
        place = finding.candidate
        if not others or place is None or not f"{place.path}.".startswith(f"{path}."):
            file, line = flow.nearest_line(record, path)
            finding.candidate = Place(path, file, line) if file is not None else place
        return f"lacks the {op.name} of"
    if other > own:
        extra = next(op for op in others if (other - own)[plain(op.name)])
        finding.kind = EXTRA
        text = f"the candidate applies {extra.name} ({extra.file}:{extra.line}), which the reference lacks"
        finding.candidate, finding.op = Place(extra.path, extra.file, extra.line), extra.name
        finding.cause = Cause(text, 0.8, evidence)
        finding.fix = f"remove {extra.name} at {extra.file}:{extra.line}"
        return f"applies a {extra.name} that is not in"
    gone, new = own - other, other - own
    if gone.total() == new.total() == 1 and gone[plain(ops[0].name)] and new[plain(others[0].name)]:
        op, instead = ops[0], others[0]
        finding.kind = OTHER
        text = f"the candidate applies {instead.name} ({instead.file}:{instead.line}) where the reference applies "
        finding.cause = Cause(f"{text}{op.name} ({op.file}:{op.line})", 0.7, evidence)
        finding.fix = f"{op.name} instead of {instead.name} at {instead.file}:{instead.line}"
        return f"applies {instead.name}, not {op.name} as"
    return ""


def _enclosing(path: str, flow: Flow) -> str:
    """The candidate's counterpart of the innermost layer around a path that has one."""
    while path:
        found = flow.counterpart(path)
        if found:
            return found
        path = path.rpartition(".")[0]
    return ""


_ALIASES = {
    "biasadd": "", "linear": "matmul", "dense": "matmul", "addmm": "matmul", "baddbmm": "matmul", "bmm": "matmul",
    "batchmatmul": "matmul", "mm": "matmul", "truediv": "div", "realdiv": "div", "adds": "add", "subs": "sub",
    "muls": "mul", "divs": "div", "upsamplebilinear": "bilinear", "resizebilinear": "bilinear",
    "upsamplenearest": "nearest", "resizenearestneighbor": "nearest", "upsamplebicubic": "bicubic",
    "resizebicubic": "bicubic", "upsamplelinear": "linear1", "resizelinear": "linear1", "hardtanh": "relu6",
    "convtranspose": "conv2dtranspose", "gather": "embedding", "nlllossnd": "nllloss",
    "kldiv": "kldivloss", "bcewithlogitsloss": "binarycrossentropywithlogits",
}  # fmt: skip
"""What one framework does in an op of its own is part of another in the other one, or is called otherwise."""


def plain(name: str) -> str:
    """An op's name in no framework's dialect; empty for what the other framework's op includes."""
    plain = re.sub(r"(?:[123]d|ext|v\d)+$", "", name.lower().replace("_", "").replace("reduce", ""))
    return _ALIASES.get(plain, plain)
