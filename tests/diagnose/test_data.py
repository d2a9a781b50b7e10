"""The stage `data` over traces that hold only what loaders gave: what is a fault, a warning, a note or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.capture.frameworks.torch import TorchAdapter
from parity.capture.survey import survey
from parity.diagnose import data
from parity.diagnose.stage import Context, Result
from parity.digest import digest_of
from parity.document import Finding
from parity.measured import Forced
from parity.model import BatchEvent, EnteredEvent, Item, LoaderEvent, Meta, PipelineOp
from parity.trace import Trace, TraceWriter

RNG = np.random.default_rng(12)
X = RNG.random((44, 3, 6, 6), dtype=np.float32)
Y = RNG.integers(0, 4, 44)
STEPS = 3

Batches = list[tuple[np.ndarray, ...]]


def batches(x: np.ndarray = X, y: np.ndarray = Y, size: int = 8, *, drop: bool = False) -> Batches:
    """An epoch, in the given order."""
    found = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return [b for b in found if len(b[0]) == size or not drop]


def side(
    folder: Path, epoch: Batches, *, used: Batches | None = None, shuffled: bool | None = False, **arguments: Any
) -> Trace:
    """A trace of one loader: `used` are its batches in the steps, `epoch` those that were read afterwards."""
    writer = TraceWriter(folder)
    pipeline = arguments.pop("pipeline", [PipelineOp("Source", {"shuffle": shuffled}, [], "script.py", 4)])
    writer.event(LoaderEvent(0, "loader", "DataLoader", "script.py", 5, arguments, [], pipeline, shuffled))
    steps = list(used or epoch)
    steps = (steps * STEPS)[:STEPS]
    for step, batch in enumerate(steps):
        items = [Item(str(n), -1, writer.put(np.array(values))) for n, values in enumerate(batch)]
        position = step % len(used or epoch)
        writer.event(BatchEvent(step, step, "loader", items, 0, position))
    survey(writer, TorchAdapter(), [epoch], {0}, 200, 30.0)
    writer.meta(Meta(framework="torch", steps=STEPS, complete=True))
    writer.finish()
    return Trace(folder)


Compare = Callable[..., Result]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Judges a candidate's batches against `batches()`; `reference` and `candidate` are the arguments of `side`."""

    def run(epoch: Batches, reference: dict[str, Any] | None = None, **candidate: Any) -> Result:
        first = {"epoch": batches(), **(reference or {})}
        mine = side(tmp_path / "reference.trace", **first)
        theirs = side(tmp_path / "candidate.trace", epoch, **candidate)
        return data.judge(Context(mine, theirs, Forced(), [], SimpleNamespace(only={"data"})))

    return run


def told(result: Result) -> list[tuple[str, str]]:
    return [(f.severity, f.kind) for f in result.findings]


def only(result: Result) -> Finding:
    (finding,) = result.findings
    return finding


def shuffle(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(X))


class TestOrder:
    def test_equal_batches(self, compare: Compare) -> None:
        result = compare(batches())
        assert (result.stage.status, result.stage.compared, result.stage.total) == ("match", 3, 3)
        assert result.findings == []

    def test_both_shuffle(self, compare: Compare) -> None:
        one, other = shuffle(1), shuffle(2)
        reference = {"epoch": batches(X[one], Y[one]), "shuffled": True}
        result = compare(batches(X[other], Y[other]), reference, shuffled=True)
        assert told(result) == [("note", "shuffle-order")]
        assert "100%" in only(result).message
        assert result.stage.status == "match"

    @pytest.mark.parametrize("who", [True, False])
    def test_one_shuffles(self, compare: Compare, who: bool) -> None:
        order = shuffle(3)
        mixed = {"epoch": batches(X[order], Y[order]), "shuffled": True}
        result = compare(batches(), mixed) if not who else compare(**mixed)
        finding = only(result)
        assert (finding.severity, finding.kind, finding.fix) == ("fault", "shuffle", f"shuffle={not who}")
        assert finding.candidate is not None
        assert (finding.candidate.path, finding.candidate.line, finding.candidate.value) == ("loader", 4, who)

    def test_one_shuffles_as_far_as_is_known(self, compare: Compare) -> None:
        order = shuffle(3)
        result = compare(batches(), {"epoch": batches(X[order], Y[order]), "shuffled": True}, shuffled=None)
        assert told(result) == [("note", "order")]

    def test_backwards(self, compare: Compare) -> None:
        finding = only(compare(batches(X[::-1], Y[::-1])))
        assert (finding.severity, finding.kind) == ("fault", "order")
        assert "opposite" in finding.message

    def test_the_order_within_the_only_batch(self, compare: Compare) -> None:
        order = shuffle(3)
        result = compare(batches(X[order], Y[order], 44), {"epoch": batches(size=44)}, shuffled=True)
        assert told(result) == [("warning", "shuffle")]

    def test_other_batches_of_the_same_epoch(self, compare: Compare) -> None:
        result = compare(batches(), used=batches()[2:])
        assert told(result) == [("warning", "order")]

    def test_an_unknown_order_is_a_warning(self, compare: Compare) -> None:
        order = shuffle(4)
        assert told(compare(batches(X[order], Y[order]))) == [("warning", "order")]


class TestValues:
    def test_labels_of_shuffled_samples(self, compare: Compare) -> None:
        one, other = shuffle(1), shuffle(2)
        reference = {"epoch": batches(X[one], Y[one]), "shuffled": True}
        result = compare(batches(X[other], Y[other] + 1), reference, shuffled=True)
        assert told(result) == [("note", "shuffle-order"), ("fault", "label-offset")]

    def test_scaled_and_shuffled(self, compare: Compare) -> None:
        one, other = shuffle(1), shuffle(2)
        reference = {"epoch": batches(X[one], Y[one]), "shuffled": True}
        result = compare(batches(X[other] * 255, Y[other]), reference, shuffled=True)
        assert ("fault", "scale") in told(result)

    def test_two_differences_are_two_findings(self, compare: Compare) -> None:
        result = compare(batches(X[:, ::-1], Y + 1))
        assert told(result) == [("fault", "channel-order"), ("fault", "label-offset")]

    def test_the_line_and_the_values_of_a_normalization(self, compare: Compare) -> None:
        mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
        shape = (1, 3, 1, 1)
        right = (X - np.reshape(mean, shape)) / np.reshape(std, shape)
        wrong = (X - 255 * np.reshape(mean, shape)) / (255 * np.reshape(std, shape))
        pipeline = [
            PipelineOp("Rescale", {"rescale": 1 / 255, "shift": 0.0}, [], "script.py", 7),
            PipelineOp(
                "Normalize", {"mean": [255 * m for m in mean], "std": [255 * s for s in std]}, ["mean"], "script.py", 8
            ),
        ]
        finding = only(compare(batches(wrong), {"epoch": batches(right)}, pipeline=pipeline))
        assert finding.kind == "normalization"
        assert finding.candidate is not None and finding.reference is not None
        assert finding.candidate.line == 8
        assert np.allclose(finding.reference.value["mean"], mean, rtol=1e-3)
        assert np.allclose(finding.reference.value["std"], std, rtol=1e-3)
        assert finding.cause is not None
        assert "normalised twice" in finding.cause.text

    def test_samples_of_their_own(self, compare: Compare) -> None:
        other = np.random.default_rng(99).random(X.shape, dtype=np.float32)
        result = compare(batches(other, np.random.default_rng(98).integers(0, 4, 44)))
        assert told(result) == [("warning", "batches")]
        assert result.stage.note is not None

    def test_samples_of_another_distribution(self, compare: Compare) -> None:
        other = 3 * np.random.default_rng(99).standard_normal(X.shape).astype(np.float32)
        assert ("fault", "distribution") in told(compare(batches(other)))


class TestEpochs:
    def test_a_dropped_batch(self, compare: Compare) -> None:
        finding = only(compare(batches(drop=True), drop_remainder=True))
        assert (finding.severity, finding.kind, finding.fix) == ("fault", "drop-last", "drop_remainder=False")
        assert "4 samples" in finding.message
        assert "5 against 6 steps" in finding.message

    def test_nothing_to_drop(self, compare: Compare) -> None:
        whole = batches(X[:40], Y[:40])
        result = compare(whole, {"epoch": whole}, drop_remainder=True)
        assert told(result) == [("warning", "drop-last")]

    def test_a_short_epoch_begins_again(self, compare: Compare) -> None:
        """The third step has the reference's last batch, and the candidate's first one once more."""
        short = batches(X[:20], Y[:20])
        result = compare(batches(X[:20], Y[:20], drop=True), {"epoch": short}, drop_remainder=True)
        assert told(result) == [("fault", "drop-last")]

    def test_batch_size(self, compare: Compare) -> None:
        finding = only(compare(batches(size=4)))
        assert (finding.severity, finding.kind) == ("fault", "batch-size")

    def test_fewer_samples(self, compare: Compare) -> None:
        assert told(compare(batches(X[:32], Y[:32]))) == [("fault", "epoch-samples")]

    def test_repeated_samples(self, compare: Compare) -> None:
        order = np.random.default_rng(1).integers(0, 44, 44)
        mixed = shuffle(2)
        reference = {"epoch": batches(X[mixed], Y[mixed]), "shuffled": True}
        result = compare(batches(X[order], Y[order]), reference, shuffled=True)
        assert ("fault", "repeated-samples") in told(result)

    def test_a_repeated_epoch_is_a_note(self, compare: Compare) -> None:
        pipeline = [PipelineOp("RepeatDataset", {"count": 2}, [], "script.py", 9)]
        even = batches(X[:40], Y[:40])
        assert told(compare(even * 2, {"epoch": even}, pipeline=pipeline)) == [("note", "repeat")]

    def test_an_augmentation_on_one_side(self, compare: Compare) -> None:
        noise = 0.02 * np.random.default_rng(1).standard_normal((2, *X.shape)).astype(np.float32)
        result = compare(batches(X + noise[0]), used=batches(X + noise[1]))
        assert told(result) == [("warning", "augmentation")]  # no fault: what enters the model is not known here

    def test_an_augmentation_on_both_sides_is_a_note(self, compare: Compare) -> None:
        noise = 0.02 * np.random.default_rng(1).standard_normal((4, *X.shape)).astype(np.float32)
        reference = {"epoch": batches(X + noise[0]), "used": batches(X + noise[1])}
        result = compare(batches(X + noise[2]), reference, used=batches(X + noise[3]))
        assert told(result) == [("note", "augmentation")]


class TestHealth:
    def test_missing_values_on_both_sides_are_a_note(self, compare: Compare) -> None:
        broken = X.copy()
        broken[0, 0, 0, 0] = np.nan
        result = compare(batches(broken), {"epoch": batches(broken)})
        assert told(result) == [("note", "missing-values")]

    def test_rare_classes(self, compare: Compare) -> None:
        x, y = np.repeat(X, 4, 0) + np.arange(176, dtype=np.float32).reshape(-1, 1, 1, 1), np.zeros(176, np.int64)
        y[:2] = 1
        result = compare(batches(x, y), {"epoch": batches(x, y)})
        assert ("note", "class-balance") in told(result)

    def test_healthy_data_say_nothing(self, compare: Compare) -> None:
        assert compare(batches()).findings == []


class TestEntries:
    def entered(self, trace: Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Adds what a candidate would have put into its steps, and what it was given."""
        lines = []
        import msgspec

        writer = TraceWriter(trace.with_name("more.trace"))
        for step, (own, given) in enumerate(pairs):
            ref = writer.put(own)
            other = ref.__class__(digest_of(given, given.dtype.name), given.dtype.name, given.shape)
            same = bool(np.array_equal(own, given))
            lines.append(msgspec.json.encode(EnteredEvent(step, "step", ref, other, same, "script.py", 20)) + b"\n")
        writer.meta(Meta(complete=True))
        writer.finish()
        with open(trace / "events.jsonl", "ab") as events:
            events.writelines(lines)
        for number, file in enumerate((trace.with_name("more.trace") / "tensors").iterdir()):
            file.rename(trace / "tensors" / f"9{number:04}.safetensors")

    def judged(self, tmp_path: Path, epoch: Batches, own: list[np.ndarray]) -> Result:
        mine = side(tmp_path / "reference.trace", batches())
        side(tmp_path / "candidate.trace", epoch)
        given = [batch[0] for batch in batches()][:STEPS]
        self.entered(tmp_path / "candidate.trace", list(zip(own, given, strict=True)))
        theirs = Trace(tmp_path / "candidate.trace")
        return data.judge(Context(mine, theirs, Forced(), [], SimpleNamespace()))

    def test_what_the_loop_undoes_is_a_note(self, tmp_path: Path) -> None:
        """The loader gives HWC pixels in 0..255; the loop makes of them what the reference's loader gives."""
        raw = batches((X * 255).transpose(0, 2, 3, 1).copy())
        result = self.judged(tmp_path, raw, [batch[0] for batch in batches()][:STEPS])
        assert [(s, k) for s, k in told(result) if k != "unscaled"] == [("note", "batches")]

    def test_what_the_loop_leaves(self, tmp_path: Path) -> None:
        """It forgets the division."""
        raw = batches((X * 255).transpose(0, 2, 3, 1).copy())
        result = self.judged(tmp_path, raw, [batch[0] * 255 for batch in batches()][:STEPS])
        assert [(s, k) for s, k in told(result) if k != "unscaled"] == [("fault", "scale")]

    def test_what_the_loop_does_wrong(self, tmp_path: Path) -> None:
        """The loaders agree."""
        result = self.judged(tmp_path, batches(), [batch[0][:, ::-1].copy() for batch in batches()][:STEPS])
        assert told(result) == [("fault", "channel-order")]
