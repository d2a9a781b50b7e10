"""Whole comparisons of small pairs: each fault is found where it is, and a faithful port is left in peace."""

from __future__ import annotations

import json
from typing import Any

import pairs
import pytest
from conftest import Done, Parity
from pairs import Edit, edited, line_of

MS, TORCH = pairs.MINDSPORE, pairs.TORCH


def compare(parity: Parity, candidate: str, *words: str, reference: str = TORCH) -> Done:
    """The comparison of two scripts; what is printed must be one JSON document."""
    parity.write("ref.py", reference)
    parity.write("cand.py", candidate)
    done = parity("compare", "ref.py", "cand.py", "--format", "json", *words)
    assert done.document["verdict"] != "error", done.document
    return done


def faults(done: Done) -> list[dict[str, Any]]:
    """The introduced faults, in order."""
    found = done.document["findings"]
    return [f for f in found if f["severity"] == "fault" and f["status"] != "propagated"]


def only_fault(done: Done) -> dict[str, Any]:
    """The one fault of a diverged comparison."""
    assert done.code == 1
    assert done.document["verdict"] == "diverged"
    found = faults(done)
    assert len(found) == 1, [f["message"] for f in found]
    assert done.document["findings"][done.document["first"]] == found[0]
    assert done.document["headline"] == found[0]["message"]
    return found[0]


def assert_match(done: Done) -> None:
    assert (done.code, done.document["verdict"], done.document["first"]) == (0, "match", None), done.document[
        "headline"
    ]
    assert done.document["findings"] == []
    judged = {name: stage["status"] for name, stage in done.document["stages"].items()}
    for stage in ("forward", "loss", "backward", "optimizer", "metrics"):
        assert judged[stage] == "match"
    assert done.document["unaligned"] == {"reference": [], "candidate": []}


class TestFaithful:
    def test_port(self, parity: Parity) -> None:
        """Also `Dense(activation=...)` for Linear + ReLU, and a bias in front of BatchNorm, whose gradient is zero."""
        done = compare(parity, MS)
        assert_match(done)
        stages = done.document["stages"]
        trainable = 22
        assert (stages["backward"]["compared"], stages["backward"]["total"]) == (trainable, trainable)
        assert (stages["optimizer"]["compared"], stages["optimizer"]["total"]) == (trainable, trainable)
        assert stages["forward"]["compared"] == stages["forward"]["total"] > 10
        assert (done.document["reference"]["steps"], done.document["candidate"]["steps"]) == (3, 3)
        assert (done.document["reference"]["framework"], done.document["candidate"]["framework"]) == (
            "torch",
            "mindspore",
        )

    def test_loss_scaler_that_is_taken_out_again(self, parity: Parity) -> None:
        candidate = edited(MS, pairs.SCALER, pairs.SCALED, pairs.UNSCALED)
        assert_match(compare(parity, candidate, "--steps", "2"))

    def test_tanh_of_large_values(self, parity: Parity) -> None:
        candidate, reference = edited(MS, pairs.TANH_OF_MORE), edited(TORCH, pairs.TORCH_TANH_OF_MORE)
        assert_match(compare(parity, candidate, "--steps", "1", reference=reference))

    def test_same_framework(self, parity: Parity) -> None:
        assert_match(compare(parity, edited(TORCH, pairs.TORCH_FUNCTIONAL), "--steps", "2"))


class TestForward:
    @pytest.mark.parametrize(
        ("edit", "kind", "path", "mine", "part", "size"),
        [
            (pairs.LAYERNORM_EPS, "norm-eps", "attn.ln", "attention.norm", "nn.LayerNorm", (5e-6, 1e-4)),
            (pairs.GELU_TANH, "gelu-approximate", "gelu", "act", "nn.GELU(", (5e-5, 1e-3)),
            (pairs.SCALE_BETWEEN, "", "", "", "ops.tanh(x)", (0.05, 0.3)),
            (pairs.SOFTMAX_AXIS, "", "attn", "attention", "ops.softmax", (0.02, 0.5)),
            (pairs.LEAKY_RELU, "layer-type", "relu", "relu", "nn.LeakyReLU(", (0.02, 0.3)),
        ],
        ids=["layernorm-eps", "gelu-tanh", "scale-between", "softmax-axis", "leaky-relu"],
    )
    def test_one_fault(
        self, parity: Parity, edit: Edit, kind: str, path: str, mine: str, part: str, size: tuple[float, float]
    ) -> None:
        """What was declared carries what diverges by it; else the divergence is a finding of its own."""
        candidate = edited(MS, edit)
        fault = only_fault(compare(parity, candidate, "--steps", "1"))
        stage = "hyperparameters" if kind else "forward"
        assert (fault["stage"], fault["status"], fault["step"]) == (stage, "introduced", 0)
        assert fault["kind"] == (kind or fault["kind"])
        assert (fault["candidate"]["path"], fault["reference"]["path"]) == (path, mine)
        assert (fault["candidate"]["file"], fault["reference"]["file"]) == ("cand.py", "ref.py")
        assert fault["candidate"]["line"] == line_of(candidate, part)
        assert size[0] < fault["error"] < size[1]
        assert fault["ratio"] > 8
        assert fault["ratio"] == pytest.approx(fault["error"] / fault["floor"], rel=1e-3)

    @pytest.mark.parametrize(
        ("edits", "expected", "part", "fix"),
        [
            ([pairs.NO_RELU], ("structure", "layer-missing", "relu", ""), "x = self.norm(x)", "call relu behind norm"),
            (pairs.SOFTMAX, ("structure", "layer-extra", "", "softmax"), "nn.Softmax()", "remove softmax"),
            ([pairs.NO_SHORTCUT], ("forward", "op-missing", "attention", "attn"), "return self.proj", "apply add"),
        ],
        ids=["layer-missing", "layer-extra", "op-missing"],
    )
    def test_what_one_side_lacks(
        self, parity: Parity, edits: list[Edit], expected: tuple[str, str, str, str], part: str, fix: str
    ) -> None:
        candidate = edited(MS, *edits)
        fault = only_fault(compare(parity, candidate, "--steps", "1", "--keep", "kept"))
        places = fault["reference"]["path"], fault["candidate"]["path"]
        assert (fault["stage"], fault["kind"], *places) == expected
        assert fault["candidate"]["line"] == line_of(candidate, part)
        assert fault["fix"].startswith(fix)
        _is_drawn(json.loads((parity.folder / "kept" / "comparison.json").read_text())["details"]["graph"], fault)

    def test_one_op_for_another(self, parity: Parity) -> None:
        candidate = edited(MS, pairs.SUM_FOR_MEAN)
        fault = only_fault(compare(parity, candidate, "--steps", "1"))
        assert (fault["stage"], fault["kind"]) == ("forward", "op-type")
        assert fault["candidate"]["line"] == line_of(candidate, ".sum(1)")
        assert fault["fix"] == f"mean instead of SumExt at cand.py:{line_of(candidate, '.sum(1)')}"

    def test_two_faults_are_both_introduced(self, parity: Parity) -> None:
        done = compare(parity, edited(MS, pairs.LAYERNORM_EPS, pairs.LEAKY_RELU), "--steps", "1")
        assert [fault["candidate"]["path"] for fault in faults(done)] == ["attn.ln", "relu"]
        assert {fault["status"] for fault in faults(done)} == {"introduced"}
        propagated = [f for f in done.document["findings"] if f["status"] == "propagated"]
        assert {"attn.q", "classifier"} <= {f["candidate"]["path"] for f in propagated}
        assert {f["severity"] for f in propagated} == {"note"}


def _is_drawn(graphs: Any, fault: dict[str, Any]) -> None:
    """The graph of the side that has an op more shows the fault at it, and flows from the batch to the loss."""
    side = "candidate" if fault["kind"] == "layer-extra" else "reference"
    nodes, edges = graphs[side]["nodes"], graphs[side]["edges"]
    marked = [node for node in nodes if 0 in node["findings"]]
    assert len(marked) == 1
    assert marked[0]["name"].lower() in ("relu", "softmax", "add")
    for graph in graphs.values():
        names = [(n["kind"], n["name"]) for n in graph["nodes"]]
        assert names[0] == ("input", "argument of the model")
        assert names[-1] == ("loss", "loss")
    reached = {0}
    for maker, reader in sorted(edges):
        assert maker < reader
        reached |= {reader} if maker in reached else set()
    assert {n["id"] for n in nodes if n["kind"] != "input"} <= reached
    partner = {n["path"]: n["counterpart"] for n in graphs["reference"]["nodes"] if n["kind"] == "layer"}
    assert partner["attention.query"] == "attn.q"


class TestBatchSize:
    def test_a_candidate_that_cannot_take_the_references_batches(self, parity: Parity) -> None:
        """It runs with its own, and what both declare is compared."""
        done = compare(parity, edited(MS, *pairs.SIX_SAMPLES, pairs.LAYERNORM_EPS), "--steps", "2")
        found = {f["kind"]: f for f in done.document["findings"]}
        assert (done.code, done.document["findings"][done.document["first"]]["kind"]) == (1, "batch-size")
        assert (found["batch-size"]["reference"]["value"], found["batch-size"]["candidate"]["value"]) == (8, 6)
        assert found["norm-eps"]["candidate"]["path"] == "attn.ln"
        assert done.document["stages"]["forward"]["status"] == "inconclusive"
        assert done.document["stages"]["loss"]["status"] == "inconclusive"
        assert "failed with the reference's batches of 8 samples (its own have 6)" in str(done.document["candidate"])


class TestLoss:
    def test_sum_for_mean_is_no_loss_scale(self, parity: Parity) -> None:
        """A batch of 8: the loss and all gradients are off by a power of two, and nothing scales on purpose."""
        candidate = edited(MS, pairs.LOSS_SUM)
        fault = only_fault(compare(parity, candidate, "--steps", "1"))
        assert (fault["stage"], fault["kind"]) == ("hyperparameters", "reduction")
        assert fault["candidate"]["path"] == "criterion"
        assert (fault["reference"]["value"], fault["candidate"]["value"]) == ("mean", "sum")
        assert fault["error"] == pytest.approx(7.0, rel=1e-4)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Done:
    parity = Parity(tmp_path_factory.mktemp("stopped"))
    return compare(parity, edited(MS, pairs.STOP_GRADIENT), "--steps", "1")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Done:
    parity = Parity(tmp_path_factory.mktemp("frozen"))
    return compare(parity, edited(TORCH, pairs.TORCH_FROZEN), "--steps", "1")


class TestBackward:
    def test_a_stopped_gradient(self, stopped: Done) -> None:
        fault = only_fault(stopped)
        assert (fault["stage"], fault["op"], fault["reference"]["path"]) == ("backward", "StopGradient", "attention")
        assert fault["error"] > 0.5

    def test_the_layer_of_a_stopped_gradient(self, stopped: Done) -> None:
        assert only_fault(stopped)["candidate"]["path"] == "attn"

    def test_a_frozen_parameter(self, frozen: Done) -> None:
        fault = only_fault(frozen)
        assert (fault["kind"], fault["stage"]) == ("frozen-parameter", "structure")
        assert fault["candidate"]["path"] == fault["reference"]["path"] == "down.weight"
        assert "gets no gradient" in fault["cause"]["evidence"]

    def test_a_frozen_parameter_of_a_port(self, parity: Parity) -> None:
        fault = only_fault(compare(parity, edited(MS, pairs.FROZEN), "--steps", "2"))
        assert (fault["kind"], fault["stage"]) == ("frozen-parameter", "structure")
        assert fault["candidate"]["path"] == "fc2.weight"


class TestOptimizer:
    def test_a_scale_that_stays_in_the_gradients(self, parity: Parity) -> None:
        fault = only_fault(compare(parity, edited(MS, pairs.SCALER, pairs.SCALED), "--steps", "1"))
        assert (fault["stage"], fault["candidate"]["path"]) == ("optimizer", "optimizer")
        assert fault["error"] == pytest.approx(1023.0, rel=1e-3)

    def test_adams_epsilon_is_a_warning_unless_strict(self, parity: Parity) -> None:
        candidate, reference = edited(MS, pairs.ADAM), edited(TORCH, pairs.TORCH_ADAM)
        words = ("--steps", "2")
        mild = compare(parity, candidate, *words, reference=reference)
        assert (mild.code, mild.document["verdict"]) == (0, "match")
        (warning,) = mild.document["findings"]
        assert (warning["kind"], warning["severity"], warning["stage"]) == ("adam-epsilon", "warning", "optimizer")
        assert mild.document["headline"].endswith("1 warning")
        fault = only_fault(compare(parity, candidate, *words, "--strict", reference=reference))
        assert (fault["kind"], fault["severity"], fault["stage"]) == ("adam-epsilon", "fault", "optimizer")


class TestMetrics:
    def test_batchnorm_momentum(self, parity: Parity) -> None:
        fault = only_fault(compare(parity, edited(MS, pairs.BN_MOMENTUM), "--steps", "1"))
        assert (fault["stage"], fault["kind"]) == ("hyperparameters", "norm-momentum")
        assert (fault["reference"]["value"], fault["candidate"]["value"]) == (0.1, 0.1)
        assert fault["candidate"]["path"] == "norm"
        assert "momentum=0.9" in fault["fix"]

    def test_batchnorm_momentum_that_is_nearly_right(self, parity: Parity) -> None:
        """After one step the mean is 0.2 times the batch's in the candidate, 0.1 times in the reference."""
        fault = only_fault(compare(parity, edited(MS, pairs.BN_MOMENTUM_NEAR), "--steps", "1"))
        assert (fault["stage"], fault["status"]) == ("hyperparameters", "introduced")
        assert fault["error"] == pytest.approx(1.0, rel=1e-3)


class TestFree:
    """Without the reference's weights and batches, the forced run takes the candidate's own."""

    def test_port(self, parity: Parity) -> None:
        assert_match(compare(parity, MS, "--steps", "2", "--free"))

    def test_fault(self, parity: Parity) -> None:
        fault = only_fault(compare(parity, edited(MS, pairs.LAYERNORM_EPS), "--steps", "1", "--free"))
        assert (fault["stage"], fault["candidate"]["path"]) == ("hyperparameters", "attn.ln")


class TestOptions:
    """On pairs of PyTorch scripts, which start sooner."""

    def test_same_framework_fault(self, parity: Parity) -> None:
        candidate = edited(TORCH, pairs.TORCH_SCALE)
        done = compare(parity, candidate, "--steps", "1")
        fault = only_fault(done)
        assert (fault["stage"], fault["op"], fault["candidate"]["path"]) == ("forward", "mul", "")
        assert fault["candidate"]["line"] == fault["reference"]["line"] == line_of(candidate, "torch.tanh(x)")
        assert (done.document["reference"]["steps"], done.document["candidate"]["steps"]) == (1, 1)

    def test_only_forward(self, parity: Parity) -> None:
        done = compare(parity, edited(TORCH, pairs.TORCH_RATE), "--steps", "1", "--only", "forward")
        assert (done.code, done.document["verdict"], done.document["findings"]) == (0, "match", [])
        statuses = {name: stage["status"] for name, stage in done.document["stages"].items()}
        assert statuses.pop("forward") == "match"
        assert set(statuses.values()) == {"skipped"}
        assert done.document["headline"].startswith("match in forward; ")
        assert "optimizer" in done.document["headline"].partition("; ")[2]

    def test_skip_optimizer(self, parity: Parity) -> None:
        candidate = edited(TORCH, pairs.TORCH_RATE)
        fault = only_fault(compare(parity, candidate, "--steps", "1"))
        assert (fault["stage"], fault["kind"]) == ("hyperparameters", "learning-rate")
        assert fault["candidate"]["line"] == line_of(candidate, "torch.optim.SGD(")
        assert (fault["reference"]["value"], fault["candidate"]["value"]) == (0.1, 0.05)
        done = compare(parity, candidate, "--steps", "1", "--skip", "optimizer,hyperparameters")
        assert (done.code, done.document["verdict"], done.document["findings"]) == (0, "match", [])
        assert done.document["stages"]["optimizer"]["status"] == "skipped"
        checked, _, unchecked = done.document["headline"].partition("; ")
        assert checked == "match in environment, structure, initialization, data, forward, loss, backward, metrics"
        assert "hyperparameters" in unchecked
        assert "optimizer" in unchecked
        assert unchecked.endswith("not checked")


class TestIdlePasses:
    def test_a_look_at_the_output_before_training(self, parity: Parity) -> None:
        """A forward pass that nothing is learned from, after the optimizer was made: on one side, or on both."""
        look = "x, y = DATA[0]\nprint(model({}[:2]).shape)\nfor x, y in DATA:"
        reference = edited(TORCH, ("for x, y in DATA:", look.format("torch.from_numpy(x)")), ("model.train()\n", ""))
        assert_match(compare(parity, reference, "--steps", "2", reference=reference))
