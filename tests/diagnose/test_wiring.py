"""Layers in another order, from traces that are written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.diagnose.tree.wiring import explain_order, swapped
from parity.document import Finding, Place
from parity.model import CallEvent, Item, LayerInfo, Layers, Meta, OpEvent, SourceEvent
from parity.trace import Trace, TraceWriter

TYPES = {
    "torch": {"norm": "LayerNorm", "up": "Linear", "act": "ReLU", "pool": "MaxPool2d"},
    "mindspore": {"norm": "LayerNorm", "up": "Dense", "act": "ReLU", "pool": "MaxPool2d"},
}


def trace(folder: Path, framework: str, blocks: list[list[str]], *, lost: bool = False, skip: bool = False) -> Trace:
    """A chain of layers in blocks, one op in each layer.

    Args:
        folder: Where the trace is written.
        framework: Whose classes the layers have.
        blocks: The layers' names in the order of their calls.
        lost: Tensors lose their identity between layers, as MindSpore's do.
        skip: Each block adds its input to its output.
    """
    writer = TraceWriter(folder / f"{framework}.trace")
    layers = [LayerInfo(0, "", "Net", "script.py", 1, root=True)]
    ids, vids = iter(range(1, 1000)), iter(range(1, 1000))
    values = iter(np.arange(1.0, 1000.0, dtype=np.float32))

    def made() -> Item:
        return Item("", next(vids), writer.put(np.full((2, 3), next(values), np.float32)))

    before = made()
    for number, names in enumerate(blocks):
        first = before
        for line, name in enumerate(sorted(names)):
            layers.append(
                LayerInfo(
                    len(layers), f"b.{number}.{name}", TYPES[framework][name], "script.py", 10 + line, {}, [], True
                )
            )
        for place, name in enumerate(names):
            given = Item("", next(vids), before.ref) if lost else before
            if lost:
                writer.event(SourceEvent(0, given.vid, given.ref, "somewhere"))
            path, after, call = f"b.{number}.{name}", made(), next(ids)
            writer.event(
                OpEvent(next(ids), 0, "train", name, call, path, "script.py", 40 + place, [given.vid], [], [], [after])
            )
            writer.event(
                CallEvent(call, 0, "train", path, 0, 0, next(ids), None, True, [given], [after])
            )  # fmt: skip
            before = after
        if skip:
            both = made()
            writer.event(
                OpEvent(
                    next(ids), 0, "train", "add", None, f"b.{number}", "script.py", 50, [first.vid, before.vid], [], [],
                    [both],
                )
            )  # fmt: skip
            before = both
    writer.layers(Layers(layers, [], []))
    mapping = {
        "nodes": [
            {"reference": [x.path], "candidate": [x.path], "how": "", "confidence": 1.0} for x in layers[1:]
        ],
        "pairs": [],
    }  # fmt: skip
    writer.meta(Meta(framework=framework, steps=1, complete=True, mapping=mapping))
    writer.finish()
    return Trace(folder / f"{framework}.trace")


RIGHT, WRONG = ["norm", "up", "act"], ["up", "act", "norm"]


def finding(stage: str, path: str, kind: str = "unexplained") -> Finding:
    return Finding(kind, stage, "fault", "introduced", 0, "add", Place(path), Place(path), 0.1, 1e-7, 1e6, path)


def told(mine: Trace, theirs: Trace) -> list[tuple[str, str]]:
    return [(s.early.candidate.path, s.late.candidate.path) for s in swapped(mine, theirs)]


@pytest.mark.parametrize("lost", [False, True])
def test_a_norm_behind_its_block(tmp_path: Path, lost: bool) -> None:
    mine, theirs = trace(tmp_path, "torch", [RIGHT]), trace(tmp_path, "mindspore", [WRONG], lost=lost)
    assert told(mine, theirs) == [("b.0.norm", "b.0.up"), ("b.0.norm", "b.0.act")]


def test_the_same_order_is_nothing(tmp_path: Path) -> None:
    mine = trace(tmp_path, "torch", [RIGHT, RIGHT], skip=True)
    assert told(mine, trace(tmp_path, "mindspore", [RIGHT, RIGHT], skip=True)) == []


def test_layers_that_commute(tmp_path: Path) -> None:
    mine = trace(tmp_path, "torch", [["up", "act", "pool"]])
    assert told(mine, trace(tmp_path, "mindspore", [["up", "pool", "act"]])) == []


def test_blocks_of_the_same_lines_are_one_fault(tmp_path: Path) -> None:
    mine = trace(tmp_path, "torch", [RIGHT, RIGHT], skip=True)
    theirs = trace(tmp_path, "mindspore", [WRONG, WRONG], skip=True)
    measured = [
        finding("forward", "b.0"), finding("forward", "b.1"), finding("backward", "b.1.norm"),
        finding("forward", "head"), finding("forward", "b.1", "precision"),
    ]  # fmt: skip
    left, folded = explain_order(measured, mine, theirs, "structure")
    assert [(f.stage, f.kind) for f in left] == [
        ("structure", "layer-order"), ("forward", "unexplained"), ("forward", "precision"),
    ]  # fmt: skip
    assert folded == measured[:3]
    made = left[0]
    assert made.reference is not None
    assert made.candidate is not None
    assert (made.reference.path, made.reference.line) == ("b.0", 40)
    assert (made.candidate.path, made.candidate.line) == ("b.0", 42)
    assert made.message.startswith("b.0.norm runs behind b.0.up in the candidate (script.py:42)")
    assert (made.error, made.fix) == (0.1, "call b.0.norm before b.0.up")


def test_without_a_divergence_the_order_is_nobodys_business(tmp_path: Path) -> None:
    mine, theirs = trace(tmp_path, "torch", [RIGHT]), trace(tmp_path, "mindspore", [WRONG])
    assert explain_order([], mine, theirs, "structure") == ([], [])
    alone = [finding("backward", "b.0")]
    assert explain_order(alone, mine, theirs, "structure") == (alone, [])
