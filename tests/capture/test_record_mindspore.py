"""What the trace of a MindSpore script holds, in each of the ways in which such a script trains."""

from __future__ import annotations

import numpy as np
import pytest
from traces import Captured, cross_entropy_gradient

from parity.model import BufferEvent, LossEvent, RandomEvent

MODEL = """
import numpy as np
import mindspore as ms
from mindspore import dataset, mint, nn, ops

ms.set_seed(5)
rng = np.random.RandomState(0)
X, Y = rng.randn(12, 5).astype(np.float32), rng.randint(0, 3, 12).astype(np.int32)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first = nn.Dense(5, 7)
        self.bn = nn.BatchNorm1d(7, momentum=0.7)
        self.act = nn.ReLU()
        self.shared = nn.Dense(7, 7, has_bias=False)
        self.drop = nn.Dropout(p=0.25)
        self.head = nn.Dense(7, 3)
        self.skip = nn.Dense(7, 3)

    def construct(self, x):
        h = self.act(self.bn(self.first(x)))
        h = self.drop(self.shared(self.shared(h)))
        return self.head(h) + self.skip(h)


model = Net()
model.set_train()
criterion = nn.CrossEntropyLoss()
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.5)
"""

PLAIN = """
def forward(x, y):
    return criterion(model(x), y)


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
for step in range(3):
    loss, grads = grad_fn(ms.Tensor(X[4 * step:4 * step + 4]), ms.Tensor(Y[4 * step:4 * step + 4]))
    print("loss", float(loss))
    optimizer(grads)
    print("weight", float(model.head.weight[0, 0]))
"""

AUX = """
def forward(x, y):
    logits = model(x)
    return criterion(logits, y), logits


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters, has_aux=True)
for step in range(3):
    (loss, logits), grads = grad_fn(ms.Tensor(X[4 * step:4 * step + 4]), ms.Tensor(Y[4 * step:4 * step + 4]))
    print("loss", float(loss))
    optimizer(grads)
    print("weight", float(model.head.weight[0, 0]))
"""

ONE_STEP = """
train = nn.TrainOneStepCell(nn.WithLossCell(model, criterion), optimizer)
train.set_train()
for step in range(3):
    loss = train(ms.Tensor(X[4 * step:4 * step + 4]), ms.Tensor(Y[4 * step:4 * step + 4]))
    print("loss", float(loss))
    print("weight", float(model.head.weight[0, 0]))
"""

MODEL_TRAIN = """
class Show(ms.train.Callback):
    def on_train_step_end(self, context):
        print("loss", float(context.original_args().net_outputs))
        print("weight", float(model.head.weight[0, 0]))


data = dataset.NumpySlicesDataset((X, Y), shuffle=False).batch(4)
ms.train.Model(model, criterion, optimizer).train(1, data, callbacks=[Show()], dataset_sink_mode=False)
"""

WAYS = {"value_and_grad": PLAIN, "aux": AUX, "one_step": ONE_STEP, "model_train": MODEL_TRAIN}
STEPS = 2
X = np.random.RandomState(0).randn(12, 5).astype(np.float32)


@pytest.fixture(scope="module", params=list(WAYS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("ms"), MODEL + WAYS[request.param], "--steps", str(STEPS))


def labels(step: int) -> np.ndarray:
    generator = np.random.RandomState(0)
    generator.randn(12, 5)
    return np.asarray(generator.randint(0, 3, 12)[4 * step : 4 * step + 4])


class TestEveryWay:
    def test_steps(self, run: Captured) -> None:
        meta = run.trace.meta
        assert (meta.steps, meta.complete, meta.framework) == (STEPS, True, "mindspore")
        assert meta.notes == []

    def test_loss_is_what_the_script_printed(self, run: Captured) -> None:
        losses = [float(run.array(event.ref)) for event in run.trace.of(LossEvent)]
        printed = run.numbers("loss")
        assert len(losses) == STEPS
        # The script is stopped at its last step's update: what it prints after that is never reached.
        assert len(printed) >= STEPS - 1
        assert losses[: len(printed)] == printed

    def test_paths_are_the_models_own(self, run: Captured) -> None:
        assert [layer.path for layer in run.trace.layers if layer.root] == [""]
        found = {layer.path for layer in run.trace.layers}
        assert {"", "first", "bn", "act", "shared", "drop", "head", "skip"} <= found
        assert run.layer("").type == "Net"

    def test_calls_of_a_step(self, run: Captured) -> None:
        for step in range(STEPS):
            assert [call.call for call in run.calls("shared", step)] == [0, 1]
            assert [call.call for call in run.calls("head", step)] == [0]
            roots = [call for call in run.calls("", step) if call.layer == run.layer("").id]
            assert len(roots) == 1
            assert all(call.training for call in run.calls("first", step))

    def test_batch_goes_in(self, run: Captured) -> None:
        for step in range(STEPS):
            (call,) = run.calls("first", step)
            assert np.array_equal(run.trace.array(call.inputs[0].ref), X[4 * step : 4 * step + 4])

    def test_gradient_at_the_logits(self, run: Captured) -> None:
        for step in range(STEPS):
            logits = run.output("head", step) + run.output("skip", step)
            expected = cross_entropy_gradient(logits, labels(step))
            assert np.allclose(run.gradient("head", step), expected, atol=1e-6)
            assert np.allclose(run.gradient("skip", step), expected, atol=1e-6)

    def test_gradient_is_summed_over_consumers(self, run: Captured) -> None:
        before = run.updated("before")
        expected = run.gradient("head") @ (before["head.weight"] + before["skip.weight"])
        assert np.allclose(run.gradient("drop"), expected, atol=1e-6)

    def test_gradient_of_a_shared_layer(self, run: Captured) -> None:
        later, sooner = run.gradient("shared", call=1), run.gradient("shared", call=0)
        assert np.allclose(sooner, later @ run.initial()["shared.weight"], atol=1e-6)
        expected = later.T @ run.output("shared") + sooner.T @ run.output("act")
        assert np.allclose(run.parameter_gradients()["shared.weight"], expected, atol=1e-6)

    def test_gradients_of_parameters(self, run: Captured) -> None:
        found = run.parameter_gradients()
        assert set(found) == {p.name for p in run.trace.parameters if p.trainable}
        assert np.allclose(found["head.weight"], run.gradient("head").T @ run.output("drop"), atol=1e-6)
        assert np.allclose(found["head.bias"], run.gradient("head").sum(0), atol=1e-6)

    def test_before_and_after(self, run: Captured) -> None:
        given, before, after = (run.updated(what) for what in ("given", "before", "after"))
        trainable = {p.name for p in run.trace.parameters if p.trainable}
        assert set(given) == set(before) == set(after) == trainable
        for name in trainable:
            assert np.array_equal(before[name], run.initial()[name])
            assert np.allclose(after[name], before[name] - 0.5 * given[name], atol=1e-6)
        assert after["head.weight"][0, 0] == run.numbers("weight")[0]
        assert np.array_equal(run.updated("before", 1)["head.weight"], after["head.weight"])

    def test_masks(self, run: Captured) -> None:
        for step in range(STEPS):
            (draw,) = run.trace.of(RandomEvent, step)
            mask = run.array(draw.ref)
            assert (draw.kind, draw.path) == ("mask", "drop")
            assert set(np.unique(mask)) <= {0.0, 1.0}
            assert 0 < mask.mean() < 1
            expected = run.output("shared", step, call=1) * mask / 0.75
            assert np.allclose(run.output("drop", step), expected, atol=1e-6)

    def test_buffers(self, run: Captured) -> None:
        x = run.output("first")
        (event,) = run.trace.of(BufferEvent, 0)
        assert np.allclose(run.array(event.values["bn.moving_mean"]), 0.3 * x.mean(0), atol=1e-6)
        variance = run.array(event.values["bn.moving_variance"])
        assert np.allclose(variance, 0.7 + 0.3 * x.var(0, ddof=1), atol=1e-5)

    @pytest.mark.parametrize("name", ["first", "bn", "act", "shared", "drop", "head"])
    def test_source_lines(self, run: Captured, name: str) -> None:
        layer = run.layer(name)
        assert (layer.file, layer.line) == ("script.py", run.line(f"self.{name} = nn."))

    def test_effective_arguments(self, run: Captured) -> None:
        arguments = run.layer("bn").arguments
        assert (arguments["num_features"], arguments["momentum"], arguments["eps"]) == (7, 0.7, 1e-5)
        assert run.layer("bn").given == ["num_features", "momentum"]
        assert run.layer("first").arguments["has_bias"] is True
        assert run.layer("shared").arguments["has_bias"] is False

    def test_optimizer(self, run: Captured) -> None:
        event = run.update()
        assert (event.name, event.class_name) == ("optimizer", "SGD")
        assert event.groups[0]["learning_rate"] == 0.5


MODERN = """
import numpy as np
import mindspore as ms
from mindspore import mint, nn, ops
from mindspore.experimental import optim

ms.set_context(mode=ms.GRAPH_MODE)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first = mint.nn.Linear(4, 6)
        self.norm = nn.LayerNorm((6,))
        self.head = nn.Dense(6, 4, has_bias=False)
        self.tied = mint.nn.Linear(6, 4, bias=False)
        self.tied.weight = self.head.weight

    @ms.jit
    def construct(self, x):
        h = ops.tanh(self.norm(self.first(x)))
        return {"main": self.head(h), "pair": (self.tied(h * 2), h)}


ms.set_seed(0)
model = Net()
optimizer = optim.AdamW(model.trainable_params(), lr=0.01, weight_decay=0.1)


def forward(x):
    found = model(x)
    return ((found["main"] + found["pair"][0]) ** 2).mean()


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)


@ms.jit
def step(x):
    loss, grads = grad_fn(x)
    optimizer(grads)
    return loss


for i in range(2):
    print("loss", float(step(ms.Tensor(np.random.RandomState(i).randn(3, 4).astype(np.float32)))))
"""


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("modern"), MODERN, "--steps", "2")


class TestModern:
    """Graph mode, `ms.jit`, `mint` layers, an experimental optimizer, a dictionary of outputs, tied weights."""

    def test_what_was_run_otherwise_is_noted(self, modern: Captured) -> None:
        assert sorted(modern.trace.meta.notes) == [
            "GRAPH_MODE was run in PyNative mode",
            "ms.jit was run in PyNative mode",
        ]

    def test_layers_inside_are_seen(self, modern: Captured) -> None:
        assert [len(modern.calls(path)) for path in ("first", "norm", "head", "tied")] == [1, 1, 1, 1]
        assert modern.layer("first").framework
        assert modern.layer("first").arguments["in_features"] == 4
        assert modern.layer("norm").arguments["epsilon"] == 1e-7
        assert modern.layer("norm").line == modern.line("self.norm = nn.LayerNorm")

    def test_nested_outputs(self, modern: Captured) -> None:
        (call,) = [c for c in modern.calls("") if c.layer == modern.layer("").id]
        assert [item.name for item in call.outputs] == ["main", "pair.0", "pair.1"]

    def test_tied_weights_are_one_parameter_of_two_names(self, modern: Captured) -> None:
        names = {p.name: p.names for p in modern.trace.parameters}
        assert names["head.weight"] == ["head.weight", "tied.weight"]
        assert "tied.weight" not in names

    def test_gradients(self, modern: Captured) -> None:
        main, (pair,) = modern.output(""), modern.calls("tied")
        total = main + modern.array(pair.outputs[0].ref)
        expected = 2 * total / total.size
        assert np.allclose(modern.gradient("head"), expected, atol=1e-6)
        (head,), (tied,) = modern.calls("head"), modern.calls("tied")
        weight = expected.T @ (modern.array(head.inputs[0].ref) + modern.array(tied.inputs[0].ref))
        assert np.allclose(modern.parameter_gradients()["head.weight"], weight, atol=1e-6)

    def test_update_is_that_of_adamw(self, modern: Captured) -> None:
        event = modern.update()
        assert event.class_name == "AdamW"
        given, before, after = (modern.updated(what) for what in ("given", "before", "after"))
        assert set(given) == {"first.weight", "first.bias", "norm.gamma", "norm.beta", "head.weight"}
        name = "head.weight"
        expected = before[name] * (1 - 0.01 * 0.1) - 0.01 * given[name] / (np.abs(given[name]) + 1e-8)
        assert np.allclose(after[name], expected, atol=1e-6)

    def test_loss(self, modern: Captured) -> None:
        losses = [float(modern.array(event.ref)) for event in modern.trace.of(LossEvent)]
        printed = modern.numbers("loss")
        assert len(losses) == 2
        assert losses[: len(printed)] == printed
        total = modern.output("") + modern.output("tied")
        assert losses[0] == pytest.approx((total**2).mean(), rel=1e-6)
