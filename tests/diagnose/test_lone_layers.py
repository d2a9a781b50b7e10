"""Ops of one side only that are whole layers, in traces that are written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.diagnose.tree.lone_layers import lone_layers
from parity.document import Cause, Finding, Place
from parity.model import CallEvent, Item, LayerInfo, Layers, Meta
from parity.trace import Trace, TraceWriter


def trace(folder: Path, framework: str, made: list[tuple[str, str]], called: list[str]) -> Trace:
    """A model of library layers, by path and class, of which some are called in this order."""
    writer = TraceWriter(folder / f"{framework}.trace")
    layers = [LayerInfo(0, "", "Net", "s.py", 1, root=True)]
    layers += [LayerInfo(n, path, kind, "s.py", 10 + n, framework=True) for n, (path, kind) in enumerate(made, 1)]
    for number, path in enumerate(called):
        item = Item("", number, writer.put(np.full((2, 3), number, np.float32)))
        writer.event(CallEvent(2 * number, 0, "train", path, 0, 0, 2 * number + 1, None, True, [item], [item]))
    writer.layers(Layers(layers, [], []))
    nodes = [{"reference": ["b.up"], "candidate": ["b.up"], "how": "", "confidence": 1.0}]
    writer.meta(Meta(framework=framework, steps=1, complete=True, mapping={"nodes": nodes, "pairs": []}))
    writer.finish()
    return Trace(folder / f"{framework}.trace")


def lone(kind: str, mine: str, theirs: str, fix: str = "") -> Finding:
    places, numbers = (Place(mine, "s.py", 40), Place(theirs, "s.py", 50)), (0.1, 1e-7, 1e6)
    text = "b lacks the relu of b, forward, step 0: much"
    found = Finding(kind, "forward", "fault", "introduced", 0, "relu", *places, *numbers, text, Cause("", 0.8), fix)
    return found


UP, ACT = ("b.up", "Linear"), ("b.act", "ReLU")


@pytest.fixture
def reference(tmp_path: Path) -> Trace:
    return trace(tmp_path, "torch", [UP, ACT], ["b.up", "b.act"])


DENSE = ("b.up", "Dense")


def test_a_layer_that_the_candidate_lacks(tmp_path: Path, reference: Trace) -> None:
    candidate = trace(tmp_path, "mindspore", [DENSE], ["b.up"])
    finding = lone("op-missing", "b.act", "b", "apply relu to what leaves b.up")
    assert lone_layers([finding], reference, candidate, "structure") == ([finding], [])
    assert (finding.stage, finding.kind) == ("structure", "layer-missing")
    assert (
        finding.message
        == "b.act of the reference (s.py:12), ReLU, has no counterpart in the candidate, forward, step 0: much"
    )
    assert finding.fix == "apply mindspore.nn.ReLU, the reference's ReLU behind b.up (s.py:50)"


def test_a_layer_that_is_never_called(tmp_path: Path, reference: Trace) -> None:
    candidate = trace(tmp_path, "mindspore", [("a.act", "ReLU"), DENSE, ACT], ["b.up"])
    finding = lone("op-missing", "b.act", "b")
    lone_layers([finding], reference, candidate, "structure")
    assert "b.act (s.py:13) is never called" in finding.message
    assert finding.fix == "call b.act there (s.py:50)"


def test_a_layer_that_both_call_is_an_op_still(tmp_path: Path, reference: Trace) -> None:
    candidate = trace(tmp_path, "mindspore", [DENSE, ACT], ["b.up", "b.act"])
    finding = lone("op-missing", "b.act", "b")
    assert lone_layers([finding], reference, candidate, "structure") == ([finding], [])
    assert (finding.stage, finding.kind) == ("forward", "op-missing")


def test_a_layer_that_only_the_candidate_has(tmp_path: Path, reference: Trace) -> None:
    candidate = trace(tmp_path, "mindspore", [DENSE, ACT, ("b.end", "Tanh")], ["b.up", "b.act", "b.end"])
    finding = lone("op-extra", "b", "b.end")
    lone_layers([finding], reference, candidate, "structure")
    assert (finding.stage, finding.kind) == ("structure", "layer-extra")
    assert finding.candidate == Place("b.end", "s.py", 13, "Tanh")
    assert finding.fix == "remove b.end, which is called at s.py:50"


@pytest.mark.parametrize(("block", "kinds"), [("b", ["layer-order"]), ("c", ["layer-extra", "layer-missing"])])
def test_one_more_and_one_less_in_a_block_have_moved(
    tmp_path: Path, reference: Trace, block: str, kinds: list[str]
) -> None:
    candidate = trace(tmp_path, "mindspore", [(f"{block}.0", "ReLU"), DENSE], [f"{block}.0", "b.up"])
    extra = lone("op-extra", "b", f"{block}.0")
    missing = lone("op-missing", "b.act", "b", "apply relu to what leaves b.up")
    left, folded = lone_layers([extra, missing], reference, candidate, "structure")
    assert [f.kind for f in left] == kinds
    assert folded == ([missing] if block == "b" else [])
    if block == "b":
        assert extra.fix == "call b.0 behind b.up (s.py:50), not where it stands now"
        assert (
            extra.message == "b.0 (s.py:11), ReLU, stands elsewhere than b.act (s.py:12) of the reference, step 0: much"
        )


def test_an_op_of_a_layer_that_is_called_twice_has_moved(tmp_path: Path, reference: Trace) -> None:
    candidate = trace(tmp_path, "mindspore", [DENSE, ACT], ["b.up", "b.act"])
    extra, missing = lone("op-extra", "b", "b.act"), lone("op-missing", "b.act", "b", "apply relu to what leaves b.up")
    left, folded = lone_layers([extra, missing], reference, candidate, "structure")
    assert (left, folded) == ([extra], [missing])
    assert (extra.stage, extra.kind) == ("structure", "layer-order")
    assert extra.fix == "call b.act behind b.up, not where it stands now"


def test_an_op_that_is_no_layer_has_moved(tmp_path: Path, reference: Trace) -> None:
    candidate = trace(tmp_path, "mindspore", [DENSE], ["b.up"])
    extra, missing = lone("op-extra", "b", "b"), lone("op-missing", "b", "b", "apply relu to what leaves b.up")
    missing.reference = Place("b", "s.py", 40)
    assert lone_layers([extra, missing], reference, candidate, "structure") == ([extra], [missing])
    assert (extra.stage, extra.kind, extra.fix) == (
        "forward", "op-order", "apply relu behind b.up, not where it stands now",
    )  # fmt: skip
