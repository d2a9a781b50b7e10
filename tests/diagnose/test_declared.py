"""Stages of declared values on traces that are written by hand: what is compared, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.compare.faults import Judged
from parity.diagnose import environment, hyperparameters, structure
from parity.diagnose.pairing import layer_pairs
from parity.diagnose.stage import Context
from parity.document import Finding
from parity.measured import Forced, Measured
from parity.model import (
    CallEvent,
    LayerInfo,
    Layers,
    Meta,
    ObjectInfo,
    OptimizerEvent,
    ParameterInfo,
    RandomEvent,
    TensorRef,
)
from parity.trace import Trace, TraceWriter

STEPS = 3


@dataclass
class Model:
    """One side of a small convolutional network and its training: everything that a test may change."""

    framework: str
    layers: list[tuple[str, str, dict[str, Any], list[str]]]
    parameters: dict[str, tuple[int, ...]]
    rates: list[float] = field(default_factory=lambda: [0.1] * STEPS)
    decay: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    optimizer: str = ""
    frozen: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    training: dict[str, bool] = field(default_factory=dict)
    resting: int = STEPS
    objects: list[ObjectInfo] = field(default_factory=list)
    dtype: str = "float32"
    dtypes: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    masks: int = 1

    def write(self, folder: Path, mapping: dict[str, Any] | None = None) -> Trace:
        """The trace of three steps."""
        path = folder / f"{self.framework}.trace"
        writer = TraceWriter(path)
        ones = {n: writer.put(np.ones(s, np.float32)) for n, s in self.parameters.items()}
        kinds = {name: self.dtypes.get(name, self.dtype) for name, *_ in self.layers}
        outs = {n: writer.put(np.ones((2, 3), "uint16" if k == "bfloat16" else k), k) for n, k in kinds.items()}
        numbers = {name: n for n, (name, *_) in enumerate(self.layers)}
        for step in range(STEPS):
            for place, (name, *_) in enumerate(self.layers):
                training = self.training.get(name, True) and step < self.resting
                item = [("", 100 + place, outs[name])]
                call = CallEvent(2 * place, step, "train", name, numbers[name], 0, 2 * place + 1, None, training)
                call.inputs = call.outputs = [_item(*i) for i in item]
                writer.event(call)
            writer.event(self._update(step, ones))
            for number in range(self.masks):
                writer.event(RandomEvent(step, number, "mask", "", writer.put(np.ones((2, 8), np.uint8))))
        infos = [
            ParameterInfo(n, n.rpartition(".")[0], n.rpartition(".")[2], s, self.held.get(n, "float32"),
                          n not in self.frozen, False, [n], ones[n])
            for n, s in self.parameters.items()
        ]  # fmt: skip
        tree = [
            LayerInfo(n, name, kind, "script.py", 10 + n, arguments, given, bool(name), root=not name)
            for n, (name, kind, arguments, given) in enumerate(self.layers)
        ]
        made = ObjectInfo("optimizer", self.optimizer, "opt", "script.py", 90, self.settings, list(self.settings))
        writer.layers(Layers(tree, infos, [made, *self.objects]))
        meta = Meta(framework=self.framework, steps=STEPS, complete=True, mapping=mapping)
        writer.meta(meta)
        writer.finish()
        return Trace(path)

    def _update(self, step: int, refs: dict[str, TensorRef]) -> OptimizerEvent:
        held = {n: ref for n, ref in refs.items() if n not in self.dropped}
        given = {n: ref for n, ref in held.items() if n not in self.frozen}
        groups = [
            {**self.settings, "lr": self.rates[step], "weight_decay": self.decay.get(n, 0.0), "parameters": [n]}
            for n in held
        ]
        return OptimizerEvent(
            step, 0, "opt", self.optimizer.rpartition(".")[2], groups, given, held, held, {}, "s.py", 1
        )


def _item(name: str, vid: int, ref: TensorRef) -> Any:
    from parity.model import Item

    return Item(name, vid, ref)


def torch_model() -> Model:
    return Model(
        "torch",
        [
            ("", "Net", {}, []),
            ("norm", "LayerNorm", {"normalized_shape": 8, "eps": 1e-5, "elementwise_affine": True, "bias": True}, []),
            ("drop", "Dropout", {"p": 0.1, "inplace": False}, ["p"]),
            ("head", "Linear", {"in_features": 8, "out_features": 3, "bias": True}, []),
        ],
        {"norm.weight": (8,), "norm.bias": (8,), "head.weight": (3, 8), "head.bias": (3,)},
        optimizer="torch.optim.sgd.SGD",
        settings={"lr": 0.1, "momentum": 0.9, "dampening": 0, "weight_decay": 0, "nesterov": False},
    )


def mindspore_model() -> Model:
    return Model(
        "mindspore",
        [
            ("", "Network", {}, []),
            ("ln", "LayerNorm", {"normalized_shape": [8], "epsilon": 1e-5, "gamma_init": "ones"}, ["epsilon"]),
            ("dropout", "Dropout", {"keep_prob": 0.5, "p": 0.1, "dtype": "Float"}, ["p"]),
            ("fc", "Dense", {"in_channels": 8, "out_channels": 3, "has_bias": True, "activation": None}, []),
        ],
        {"ln.gamma": (8,), "ln.beta": (8,), "fc.weight": (3, 8), "fc.bias": (3,)},
        optimizer="mindspore.nn.optim.sgd.SGD",
        settings={"learning_rate": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False},
    )


NODES = [("norm", "ln"), ("head", "fc")]
PAIRS = [("norm.weight", "ln.gamma"), ("norm.bias", "ln.beta"), ("head.weight", "fc.weight"), ("head.bias", "fc.bias")]
MAPPING = {
    "nodes": [{"reference": [r], "candidate": [c], "how": "", "confidence": 1.0} for r, c in NODES],
    "pairs": [
        {"reference": r, "candidate": c, "transform": "same", "how": "", "confidence": 1.0, "start": 0, "stop": 0,
         "parts": []}
        for r, c in PAIRS
    ],
}  # fmt: skip


class Pair:
    """Both sides, and what the stages say of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reference, self.candidate = torch_model(), mindspore_model()

    def context(self) -> Context:
        reference = self.reference.write(self.folder)
        candidate = self.candidate.write(self.folder, MAPPING)
        return Context(reference, candidate, Forced(), [], SimpleNamespace())

    def findings(self, stage: Any) -> list[Finding]:
        found: list[Finding] = stage.judge(self.context()).findings
        return found

    def only(self, stage: Any) -> Finding:
        (finding,) = self.findings(stage)
        return finding


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def schedule(values: list[float], **arguments: Any) -> ObjectInfo:
    names = [*torch_model().parameters, *mindspore_model().parameters]
    arguments = {"parameters": names, "every": 1, **arguments}
    return ObjectInfo("rates", "Schedule", "opt", "script.py", 80, arguments, values=values)


def test_a_faithful_pair(pair: Pair) -> None:
    for stage in (environment, hyperparameters, structure):
        assert pair.findings(stage) == []


class TestLayers:
    def test_pairs_of_layers_with_and_without_parameters(self, pair: Pair) -> None:
        context = pair.context()
        found = layer_pairs(context.reference, context.candidate, lambda r, c: True)
        assert [(p.reference.path, p.candidate.path) for p in found] == [
            ("norm", "ln"), ("drop", "dropout"), ("head", "fc"),
        ]  # fmt: skip

    def test_epsilon(self, pair: Pair) -> None:
        pair.candidate.layers[1][2]["epsilon"] = 1e-7
        pair.candidate.layers[1][3].clear()
        found = pair.only(hyperparameters)
        assert (found.kind, found.severity, found.stage) == ("norm-eps", "warning", "hyperparameters")
        assert found.reference is not None
        assert found.candidate is not None
        assert (found.reference.path, found.reference.value) == ("norm", 1e-5)
        assert (found.candidate.path, found.candidate.value, found.candidate.line) == ("ln", 1e-7, 11)
        assert "MindSpore's default" in found.message
        assert found.fix is not None
        assert "epsilon=1e-05" in found.fix


class TestOptimizers:
    def test_learning_rate(self, pair: Pair) -> None:
        pair.candidate.rates = [0.05] * STEPS
        found = pair.only(hyperparameters)
        assert (found.kind, found.severity) == ("learning-rate", "fault")
        assert found.reference is not None
        assert found.candidate is not None
        assert (found.candidate.path, found.reference.value, found.candidate.value) == ("opt", 0.1, 0.05)

    def test_momentum_in_one_convention(self, pair: Pair) -> None:
        mine = {"num_features": 8, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
        theirs = {"num_features": 8, "eps": 1e-5, "momentum": 0.1, "affine": True, "use_batch_statistics": None}
        pair.reference.layers[1] = ("norm", "BatchNorm1d", mine, [])
        pair.candidate.layers[1] = ("ln", "BatchNorm1d", {**theirs, "data_format": "NCHW"}, ["momentum"])
        found = pair.only(hyperparameters)
        assert found.kind == "norm-momentum"
        assert "which PyTorch calls 0.9" in found.message

    def test_rounding_of_rates_is_nothing(self, pair: Pair) -> None:
        pair.candidate.rates = [float(np.float32(0.1))] * STEPS
        assert pair.findings(hyperparameters) == []

    def test_a_late_schedule(self, pair: Pair) -> None:
        pair.reference.rates, pair.candidate.rates = [0.05, 0.1, 0.2], [0.0, 0.05, 0.1]
        found = pair.only(hyperparameters)
        assert (found.kind, found.severity, found.step) == ("lr-schedule", "fault", 0)
        assert found.cause is not None
        assert "one step late" in found.cause.text

    def test_a_schedule_that_differs_later(self, pair: Pair) -> None:
        pair.reference.objects = [schedule([0.1] * 20 + [0.01] * 20, total_steps=STEPS + 40)]
        pair.candidate.objects = [schedule([0.1] * 30 + [0.01] * 10)]
        found = pair.only(hyperparameters)
        assert (found.kind, found.step) == ("lr-schedule", STEPS + 20)

    def test_after_the_end_of_a_schedule_nothing_counts(self, pair: Pair) -> None:
        pair.reference.objects = [schedule([0.1] * 20 + [0.01] * 20, total_steps=STEPS + 20)]
        pair.candidate.objects = [schedule([0.1] * 40)]
        assert pair.findings(hyperparameters) == []

    def test_a_schedule_on_one_side(self, pair: Pair) -> None:
        pair.reference.objects = [schedule([0.1] * 20 + [0.01] * 20, total_steps=STEPS + 40)]
        found = pair.only(hyperparameters)
        assert (found.kind, found.severity) == ("lr-schedule", "warning")

    def test_decay(self, pair: Pair) -> None:
        for name in pair.reference.parameters:
            pair.reference.decay[name] = 0.01
        for name in ("fc.weight", "fc.bias"):
            pair.candidate.decay[name] = 0.01
        found = pair.only(hyperparameters)
        assert (found.kind, found.severity) == ("weight-decay", "fault")
        assert "2 of 4 parameters" in found.message
        assert "ln.gamma" in found.message

    @pytest.mark.parametrize(("flagged", "severity"), [((), "warning"), ((1,), "warning"), ((0, 1), "fault")])
    def test_decay_that_the_script_applies_itself(self, pair: Pair, flagged: tuple[int, ...], severity: str) -> None:
        """It must show in every step; where a step's updates agree, what differs in another is something else."""
        for name in pair.reference.parameters:
            pair.reference.decay[name] = 0.01
        measured = [
            Judged(
                Measured(step, "optimizer", "parameter", name, 0, "", name, -1, error=0.0, scale=1.0), 1e-7, 1.0,
                step in flagged,
            )
            for step in range(2)
            for name in pair.reference.parameters
        ]  # fmt: skip
        (found,) = hyperparameters.judge(pair.context()._replace(judged=measured)).findings
        assert (found.kind, found.severity) == ("weight-decay", severity)
        assert (found.status is None) == (severity == "warning")

    def test_momentum(self, pair: Pair) -> None:
        pair.candidate.settings["momentum"] = 0.8
        found = pair.only(hyperparameters)
        assert (found.kind, found.severity) == ("momentum", "warning")


class TestStructure:
    def test_frozen(self, pair: Pair) -> None:
        pair.candidate.frozen = {"fc.weight", "fc.bias"}
        pair.candidate.dropped = {"fc.weight", "fc.bias"}
        found = pair.only(structure)
        assert (found.kind, found.severity) == ("frozen-parameter", "fault")
        assert found.candidate is not None
        assert found.reference is not None
        assert (found.candidate.path, found.reference.path) == ("fc", "head")

    def test_frozen_in_the_reference_only(self, pair: Pair) -> None:
        pair.reference.frozen = {"norm.bias"}
        found = pair.only(structure)
        assert found.kind == "frozen-parameter"
        assert found.candidate is not None
        assert found.candidate.path == "ln.beta"
        assert "frozen in the reference" in found.message

    def test_not_optimized(self, pair: Pair) -> None:
        pair.candidate.dropped = {"ln.gamma"}
        found = pair.only(structure)
        assert found.kind == "parameter-not-optimized"
        assert found.candidate is not None
        assert found.candidate.path == "ln.gamma"

    def test_frozen_on_one_side_and_left_out_on_the_other_is_the_same(self, pair: Pair) -> None:
        pair.reference.dropped = {"norm.bias"}
        pair.candidate.frozen = pair.candidate.dropped = {"ln.beta"}
        assert pair.findings(structure) == []

    def test_no_set_train(self, pair: Pair) -> None:
        pair.candidate.training = {"": False, "ln": False, "dropout": False, "fc": False}
        found = pair.only(structure)
        assert (found.kind, found.severity, found.op) == ("eval-mode", "fault", "set_train")
        assert found.candidate is not None
        assert found.candidate.path == ""

    def test_evaluation_that_is_never_left(self, pair: Pair) -> None:
        pair.candidate.resting = 1
        found = pair.only(structure)
        assert (found.kind, found.severity, found.step) == ("eval-mode", "fault", 1)
        assert "from step 1 on" in found.message

    def test_one_layer_in_evaluation(self, pair: Pair) -> None:
        pair.candidate.training = {"dropout": False}
        found = pair.only(structure)
        assert found.kind == "eval-mode"
        assert found.candidate is not None
        assert found.candidate.path == "dropout"

    def test_the_outermost_layer_that_was_not_switched(self, pair: Pair) -> None:
        sides = (pair.reference, "drop", "Sequential"), (pair.candidate, "dropout", "SequentialCell")
        for model, name, container in sides:
            layers = [("first.a", "Dropout", {"p": 0.2}, ["p"]), ("first.b", "Dropout", {"p": 0.2}, ["p"])]
            model.layers[2:3] = [("first", container, {}, []), *layers, (name, "Dropout", {"p": 0.1}, ["p"])]
        pair.candidate.training = {"first": False, "first.a": False, "first.b": False}
        found = pair.only(structure)
        assert found.candidate is not None
        assert (found.candidate.path, found.fix) == ("first.a", "first.set_train(True)")
        assert "likewise first.b" in found.message

    def test_a_dropout_on_one_side_is_a_hint(self, pair: Pair) -> None:
        pair.reference.layers.append(("last", "Dropout", {"p": 0.2}, ["p"]))
        assert pair.findings(structure) == []  # the candidate may have it as a function
        pair.reference.masks = 2
        found = pair.only(structure)
        assert (found.kind, found.severity, found.candidate) == ("dropout-missing", "hint", None)
        assert found.reference is not None
        assert (found.reference.path, found.fix) == ("last", "nn.Dropout(p=0.2)")

    def test_modes_of_layers_without_one_mean_nothing(self, pair: Pair) -> None:
        pair.candidate.training = {"ln": False, "fc": False}
        assert pair.findings(structure) == []


class TestEnvironment:
    def test_a_missing_seed(self, pair: Pair) -> None:
        pair.reference.objects = [ObjectInfo("seed", "manual_seed", "", "ref.py", 3, {"seed": 42})]
        found = pair.only(environment)
        assert (found.kind, found.severity, found.fix) == ("seed", "warning", "mindspore.set_seed(42)")
        pair.candidate.objects = [ObjectInfo("seed", "set_seed", "", "ms.py", 3, {"seed": 7})]
        assert pair.findings(environment) == []

    def test_a_seed_of_numpy_only(self, pair: Pair) -> None:
        """MindSpore draws initial weights from NumPy's generator."""
        pair.reference.objects = [ObjectInfo("seed", "manual_seed", "", "ref.py", 3, {"seed": 42})]
        pair.candidate.objects = [ObjectInfo("numpy-seed", "numpy.random.seed", "", "ms.py", 4, {"seed": 42})]
        found = pair.only(environment)
        assert (found.kind, found.severity) == ("seed", "note")
        assert "only NumPy's (ms.py:4)" in found.message

    def test_half_precision_on_one_side(self, pair: Pair) -> None:
        pair.candidate.dtype = "float16"
        found = pair.only(environment)
        assert (found.kind, found.severity) == ("precision", "warning")
        assert found.candidate is not None
        assert found.candidate.value == "float16"
        assert pair.findings(structure) == []

    def test_deterministic_algorithms_on_one_side(self, pair: Pair) -> None:
        pair.reference.objects = [
            ObjectInfo("determinism", "use_deterministic_algorithms", "", "ref.py", 3, {"mode": True})
        ]
        found = pair.only(environment)
        assert (found.kind, found.severity, found.fix) == ("determinism", "note", "mindspore.set_deterministic(True)")
        assert "ref.py:3" in found.message
        pair.candidate.objects = [
            ObjectInfo("determinism", "set_deterministic", "", "ms.py", 3, {"deterministic": True})
        ]
        assert pair.findings(environment) == []
        pair.candidate.objects[0].arguments = {"deterministic": False}
        assert [f.kind for f in pair.findings(environment)] == ["determinism"]


class TestPrecisionOfLayers:
    def test_one_layer_in_half(self, pair: Pair) -> None:
        pair.candidate.dtypes = {"ln": "float16"}
        assert pair.findings(environment) == []
        found = pair.only(structure)
        assert (found.kind, found.severity, found.status) == ("precision", "warning", "introduced")
        assert found.fix == "ln.to_float(mindspore.float32)"
        assert found.reference is not None and found.candidate is not None
        assert (found.reference.value, found.candidate.value) == ("float32", "float16")

    def test_a_parameter_that_is_held_in_half(self, pair: Pair) -> None:
        pair.candidate.held = {"fc.bias": "float16"}
        found = pair.only(structure)
        assert (found.kind, found.severity, found.fix) == ("precision", "warning", "make fc.bias in mindspore.float32")

    def test_layers_of_one_kind_are_one_finding(self, pair: Pair) -> None:
        pair.candidate.dtypes = {"ln": "float16", "dropout": "float16"}
        assert pair.only(structure).message.endswith("likewise dropout")

    def test_a_layer_that_autocast_leaves_alone(self, pair: Pair) -> None:
        """The models differ as a whole, which the environment tells; the norm has another difference."""
        pair.reference.dtype, pair.candidate.dtype = "bfloat16", "float16"
        pair.reference.dtypes = {"norm": "float32"}
        assert pair.only(environment).message.endswith("computes in float16, the reference's in bfloat16")
        found = pair.only(structure)
        assert found.candidate is not None
        assert (found.candidate.path, found.status) == ("ln", None)


class TestConventions:
    """Equal meaning in other words is no finding."""

    def rate(self, pair: Pair, **arguments: Any) -> list[tuple[str, Any]]:
        pair.candidate.layers[2] = ("dropout", "Dropout", {"keep_prob": 0.5, "p": None, **arguments}, list(arguments))
        return [(f.kind, f.candidate.value) for f in pair.findings(hyperparameters) if f.candidate is not None]

    def test_keep_prob_is_the_complement(self, pair: Pair) -> None:
        assert self.rate(pair, keep_prob=0.9) == []
        assert self.rate(pair, p=0.1) == []
        assert self.rate(pair, keep_prob=0.1) == [("dropout-rate", 0.9)]
        assert self.rate(pair) == [("dropout-rate", 0.5)]

    @pytest.mark.parametrize(
        ("word", "flag", "equal"), [("none", False, True), ("tanh", True, True), ("none", True, False)]
    )
    def test_the_form_of_gelu(self, pair: Pair, word: str, flag: bool, equal: bool) -> None:
        pair.reference.layers[2] = ("act", "GELU", {"approximate": word}, [])
        pair.candidate.layers[2] = ("gelu", "GELU", {"approximate": flag}, [])
        assert [f.kind for f in pair.findings(hyperparameters)] == ([] if equal else ["gelu-approximate"])

    def test_another_number_of_layers_pairs_none(self, pair: Pair) -> None:
        pair.reference.layers.insert(2, ("early", "Dropout", {"p": 0.5}, ["p"]))
        assert pair.findings(hyperparameters) == []

    def test_the_same_framework_is_compared_by_names(self, pair: Pair) -> None:
        pair.candidate = torch_model()
        pair.candidate.framework = "torch"
        pair.candidate.layers[1][2]["eps"] = 1e-6
        mapping = {
            **MAPPING,
            "nodes": [{**n, "candidate": n["reference"]} for n in MAPPING["nodes"]],
            "pairs": [{**p, "candidate": p["reference"]} for p in MAPPING["pairs"]],
        }
        (pair.folder / "other").mkdir()
        reference, candidate = pair.reference.write(pair.folder), pair.candidate.write(pair.folder / "other", mapping)
        context = Context(reference, candidate, Forced(), [], SimpleNamespace())
        assert [f.kind for f in hyperparameters.judge(context).findings] == ["norm-eps"]
