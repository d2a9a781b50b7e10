"""What the trace of a PyTorch script holds, against what the script does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from traces import Captured, cross_entropy_gradient

from parity.model import BatchEvent, BufferEvent, GradEvent, LossEvent, OpEvent, ParameterGradEvent, RandomEvent

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 7)
        self.bn = nn.BatchNorm1d(7, momentum=0.3)
        self.act = nn.ReLU(inplace=True)
        self.shared = nn.Linear(7, 7, bias=False)
        self.drop = nn.Dropout(0.25)

    def forward(self, x):
        h = self.act(self.bn(self.first(x)))
        h = self.drop(self.shared(self.shared(h)))
        return {"hidden": h, "pair": (h * 2, h.sum(1))}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Body()
        self.encode = nn.Linear(7, 4, bias=False)
        self.decode = nn.Linear(7, 4, bias=False)
        self.decode.weight = self.encode.weight
        self.head = nn.Linear(4, 3)
        self.skip = nn.Linear(4, 3)

    def forward(self, x):
        found = self.body(x)
        z = self.encode(found["hidden"])
        return self.head(z) + self.skip(z) + 0 * self.decode(found["pair"][0])[:, :3]


torch.manual_seed(4)
data = TensorDataset(torch.randn(24, 5), torch.randint(0, 3, (24,)))
model = Net()
loader = DataLoader(data, batch_size=6, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
criterion = nn.CrossEntropyLoss()
for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        print("first", float(x[0, 0]))
        print("loss", loss.item())
        optimizer.step()
        print("weight", float(model.head.weight[0, 0]))
"""
STEPS = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("torch"), SCRIPT, "--steps", str(STEPS))


class TestRun:
    def test_steps(self, run: Captured) -> None:
        meta = run.trace.meta
        assert (meta.steps, meta.complete, meta.stopped, meta.framework) == (STEPS, True, True, "torch")
        assert len(run.numbers("loss")) == STEPS
        assert meta.notes == []

    def test_loss_is_what_the_script_printed(self, run: Captured) -> None:
        losses = [float(run.array(event.ref)) for event in run.trace.of(LossEvent)]
        assert losses == run.numbers("loss")

    def test_loss_line(self, run: Captured) -> None:
        (event, *_) = run.trace.of(LossEvent)
        assert (event.file, event.line) == ("script.py", run.line("loss.backward()"))


class TestLayers:
    def test_paths(self, run: Captured) -> None:
        body = [f"body.{name}" for name in ("first", "bn", "act", "shared", "drop")]
        own = {"", "body", *body, "encode", "decode", "head", "skip"}
        assert own <= {layer.path for layer in run.trace.layers}
        assert [layer.path for layer in run.trace.layers if layer.root] == [""]

    def test_calls_of_a_step(self, run: Captured) -> None:
        for step in range(STEPS):
            assert [call.call for call in run.calls("body.shared", step)] == [0, 1]
            assert [call.call for call in run.calls("body.first", step)] == [0]
            assert [call.call for call in run.calls("", step)] == [0]

    def test_calls_nest(self, run: Captured) -> None:
        (root,), (body,), (first,) = run.calls(""), run.calls("body"), run.calls("body.first")
        assert (first.parent, body.parent, root.parent) == (body.id, root.id, None)
        assert root.id < body.id < first.id < first.end < body.end < root.end

    @pytest.mark.parametrize("name", ["first", "bn", "act", "shared", "drop"])
    def test_source_lines(self, run: Captured, name: str) -> None:
        layer = run.layer(f"body.{name}")
        assert (layer.file, layer.line) == ("script.py", run.line(f"self.{name} = nn."))

    def test_line_of_the_model(self, run: Captured) -> None:
        assert run.layer("").line == run.line("model = Net()")
        assert run.layer("body").line == run.line("self.body = Body()")

    def test_effective_arguments(self, run: Captured) -> None:
        arguments = run.layer("body.bn").arguments
        assert arguments["num_features"] == 7
        assert arguments["momentum"] == 0.3
        assert arguments["eps"] == 1e-5
        assert arguments["affine"] is True
        assert run.layer("body.bn").given == ["num_features", "momentum"]
        assert run.layer("body.first").arguments["bias"] is True
        assert run.layer("body.drop").arguments == {"p": 0.25, "inplace": False}

    def test_framework_layers_are_told(self, run: Captured) -> None:
        assert run.layer("body.first").framework
        assert not run.layer("body").framework
        assert run.layer("body").children == ["first", "bn", "act", "shared", "drop"]

    def test_nested_outputs(self, run: Captured) -> None:
        (call,) = run.calls("body")
        assert [item.name for item in call.outputs] == ["hidden", "pair.0", "pair.1"]
        hidden, doubled, summed = (run.array(item.ref) for item in call.outputs)
        assert np.array_equal(doubled, 2 * hidden)
        assert np.allclose(summed, hidden.sum(1), atol=1e-6)


class TestValues:
    def test_shared_layer_runs_on_its_own_output(self, run: Captured) -> None:
        weight = run.initial()["body.shared.weight"]
        first, second = run.calls("body.shared")
        assert second.inputs[0].vid == first.outputs[0].vid
        assert np.allclose(run.output("body.shared", call=1), run.output("body.shared") @ weight.T, atol=1e-6)

    def test_in_place_relu(self, run: Captured) -> None:
        (bn,), (act,) = run.calls("body.bn"), run.calls("body.act")
        before, after = run.output("body.bn"), run.output("body.act")
        assert (before < 0).any()
        assert np.array_equal(after, np.maximum(before, 0))
        assert act.inputs[0].vid == bn.outputs[0].vid
        assert act.outputs[0].vid != act.inputs[0].vid

    def test_batches(self, run: Captured) -> None:
        batches = run.trace.of(BatchEvent)
        assert [batch.step for batch in batches] == [0, 1]
        for batch, printed in zip(batches, run.numbers("first"), strict=True):
            x, y = batch.items
            assert (x.name, y.name) == ("0", "1")
            assert (x.ref.shape, y.ref.shape, y.ref.dtype) == ((6, 5), (6,), "int64")
            assert run.array(x.ref)[0, 0] == printed
            assert run.calls("", batch.step)[0].inputs[0].ref == x.ref

    def test_dropout_masks(self, run: Captured) -> None:
        for step in range(STEPS):
            (draw,) = run.trace.of(RandomEvent, step)
            mask = run.array(draw.ref)
            assert (draw.kind, draw.path, draw.ref.dtype) == ("mask", "body.drop", "uint8")
            assert set(np.unique(mask)) == {0.0, 1.0}
            expected = run.output("body.shared", step, call=1) * mask / 0.75
            assert np.allclose(run.output("body.drop", step), expected, atol=1e-6)

    def test_buffers(self, run: Captured) -> None:
        x = run.output("body.first")
        (event,) = run.trace.of(BufferEvent, 0)
        assert set(event.values) == {"body.bn.running_mean", "body.bn.running_var", "body.bn.num_batches_tracked"}
        mean, variance = (run.array(event.values[f"body.bn.running_{name}"]) for name in ("mean", "var"))
        assert np.allclose(mean, 0.3 * x.mean(0), atol=1e-6)
        assert np.allclose(variance, 0.7 + 0.3 * x.var(0, ddof=1), atol=1e-6)
        assert int(run.array(event.values["body.bn.num_batches_tracked"])) == 1

    def test_ops_have_lines(self, run: Captured) -> None:
        lines = {op.line for op in run.trace.of(OpEvent, 0) if op.path == "body" and op.file == "script.py"}
        assert run.line('return {"hidden": h') in lines


class TestParameters:
    def test_slices_are_ops(self, run: Captured) -> None:
        op = next(op for op in run.trace.of(OpEvent, 0) if op.name == "getitem" and op.path == "")
        assert op.view
        assert op.shapes == [(6, 4)]

    def test_tied_weights_are_one_parameter_of_two_names(self, run: Captured) -> None:
        names = {p.name: p.names for p in run.trace.parameters}
        assert names["encode.weight"] == ["encode.weight", "decode.weight"]
        assert "decode.weight" not in names

    def test_roles_and_owners(self, run: Captured) -> None:
        (found,) = [p for p in run.trace.parameters if p.name == "body.bn.running_mean"]
        assert (found.owner, found.role, found.shape, found.buffer) == ("body.bn", "running_mean", (7,), True)
        assert not found.trainable
        (weight,) = [p for p in run.trace.parameters if p.name == "head.weight"]
        assert (weight.trainable, weight.buffer, weight.dtype) == (True, False, "float32")

    def test_before_and_after(self, run: Captured) -> None:
        given, before, after = (run.updated(what) for what in ("given", "before", "after"))
        trainable = {p.name for p in run.trace.parameters if p.trainable}
        assert set(given) == set(before) == set(after) == trainable
        for name in trainable:
            assert np.array_equal(before[name], run.initial()[name])
            assert np.allclose(after[name], before[name] - 0.5 * given[name], atol=1e-7)
        assert after["head.weight"][0, 0] == run.numbers("weight")[0]
        assert np.array_equal(run.updated("before", 1)["head.weight"], after["head.weight"])

    def test_optimizer(self, run: Captured) -> None:
        event = run.update()
        assert (event.name, event.class_name) == ("optimizer", "SGD")
        assert (event.file, event.line) == ("script.py", run.line("optimizer.step()"))
        assert event.groups[0]["lr"] == 0.5
        assert event.groups[0]["momentum"] == 0


class TestGradients:
    def labels(self, run: Captured, step: int) -> np.ndarray:
        (batch,) = run.trace.of(BatchEvent, step)
        return run.trace.array(batch.items[1].ref)

    @pytest.mark.parametrize("step", range(STEPS))
    def test_at_the_logits(self, run: Captured, step: int) -> None:
        expected = cross_entropy_gradient(run.output("", step), self.labels(run, step))
        for path in ("", "head", "skip"):
            assert np.allclose(run.gradient(path, step), expected, atol=1e-7)

    @pytest.mark.parametrize("step", range(STEPS))
    def test_summed_over_consumers(self, run: Captured, step: int) -> None:
        before = run.updated("before", step)
        logits = cross_entropy_gradient(run.output("", step), self.labels(run, step))
        expected = logits @ (before["head.weight"] + before["skip.weight"])
        assert np.allclose(run.gradient("encode", step), expected, atol=1e-7)

    def test_through_the_in_place_relu(self, run: Captured) -> None:
        open_ = run.output("body.bn") > 0
        assert np.allclose(run.gradient("body.bn"), run.gradient("body.act") * open_, atol=1e-9)

    def test_at_both_calls_of_a_shared_layer(self, run: Captured) -> None:
        weight = run.initial()["body.shared.weight"]
        later, sooner = run.gradient("body.shared", call=1), run.gradient("body.shared", call=0)
        assert np.allclose(sooner, later @ weight, atol=1e-7)
        expected = later.T @ run.output("body.shared") + sooner.T @ run.output("body.act")
        assert np.allclose(run.parameter_gradients()["body.shared.weight"], expected, atol=1e-6)

    def test_of_parameters(self, run: Captured) -> None:
        found, given = run.parameter_gradients(), run.updated("given")
        assert np.allclose(found["head.weight"], run.gradient("head").T @ run.output("encode"), atol=1e-6)
        assert np.allclose(found["head.bias"], run.gradient("head").sum(0), atol=1e-6)
        assert set(found) == set(given)
        assert all(np.array_equal(found[name], given[name]) for name in found)

    def test_each_output_has_one(self, run: Captured) -> None:
        events = [(event.call, event.item) for event in run.trace.of(GradEvent, 0)]
        assert len(set(events)) == len(events)


ACCUMULATES = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(2):
    optimizer.zero_grad()
    for part in range(2):
        loss = model(torch.randn(4, 3)).pow(2).mean()
        loss.backward()
        print("loss", loss.item())
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()
with torch.no_grad():
    model(torch.randn(1, 3))
"""


def test_accumulation_and_clipping(tmp_path: Path) -> None:
    """Each backward pass has its own gradients; the optimizer is given what became of their sum."""
    run = Captured(tmp_path, ACCUMULATES, "--steps", "5")
    assert (run.trace.meta.steps, run.trace.meta.complete, run.trace.meta.stopped) == (2, True, False)
    losses = run.trace.of(LossEvent)
    assert [(event.step, event.backward) for event in losses] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [float(run.array(event.ref)) for event in losses] == run.numbers("loss")
    assert [call.call for call in run.calls("0", 1)] == [0, 1]
    first, second = (run.gradient("0", call=call) for call in (0, 1))
    assert np.allclose(first, 2 * run.output("0", call=0) / 8, atol=1e-7)
    parts = [run.array(e.ref) for e in run.trace.of(ParameterGradEvent, 0) if e.name == "0.bias"]
    assert np.allclose(parts[0], first.sum(0), atol=1e-6)
    assert np.allclose(parts[1], second.sum(0), atol=1e-6)
    given = run.updated("given")
    assert np.sqrt(sum((g**2).sum() for g in given.values())) == pytest.approx(0.01, rel=1e-3)
    whole = parts[0] + parts[1]
    assert np.allclose(given["0.bias"] / np.linalg.norm(given["0.bias"]), whole / np.linalg.norm(whole), atol=1e-4)
    state = run.update().state["0.bias"]
    assert np.allclose(run.array(state["exp_avg"]), 0.1 * given["0.bias"], atol=1e-8)
    assert float(run.array(state["step"])) == 1.0
