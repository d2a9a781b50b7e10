"""What was declared and what was measured become one finding."""

from __future__ import annotations

from parity.diagnose.join import joined
from parity.diagnose.stage import Claim, Result
from parity.document import Finding, Place, Stage


def declared(kind: str, path: str, stage: str = "hyperparameters", value: object = 1) -> Finding:
    return Finding(
        kind, stage, "warning", "introduced", None, None, Place(path, value=value), Place(path, "ms.py", 5, 2), None,
        None, None, f"{kind} at {path}",
    )  # fmt: skip


def measured(path: str, stage: str = "forward", kind: str = "unexplained", op: str | None = None) -> Finding:
    return Finding(
        kind, stage, "fault", "introduced", 1, op, Place(path), Place(path), 0.5, 0.1, 50.0, f"diverges at {path}"
    )


def result(*findings: Finding, claims: dict[int, Claim] | None = None) -> Result:
    return Result(list(findings), Stage("match"), claims or {})


def test_a_declared_difference_takes_over_what_diverges() -> None:
    left, folded = joined([result(declared("norm-eps", "norm"))], [measured("norm"), measured("head")])
    assert [f.kind for f in left] == ["norm-eps", "unexplained"]
    assert (left[0].severity, left[0].step, left[0].error, left[0].ratio) == ("fault", 1, 0.5, 50.0)
    assert left[0].cause is not None
    assert left[0].cause.evidence == "diverges at norm"
    assert [f.candidate.path for f in folded if f.candidate] == ["norm"]


def test_one_without_divergence_stays_a_warning() -> None:
    left, folded = joined([result(declared("norm-eps", "norm"))], [measured("head")])
    assert [(f.kind, f.severity) for f in left] == [("norm-eps", "warning"), ("unexplained", "fault")]
    assert folded == []


def test_what_is_known_to_be_without_consequence_takes_over_nothing() -> None:
    decay = declared("weight-decay", "optimizer")
    decay.status = None
    left, folded = joined([result(decay)], [measured("optimizer", "optimizer")])
    assert [(f.kind, f.severity) for f in left] == [("weight-decay", "warning"), ("unexplained", "fault")]
    assert folded == []


def test_momentum_shows_in_the_statistics_only() -> None:
    left, _ = joined([result(declared("norm-momentum", "bn"))], [measured("bn")])
    assert [f.severity for f in left] == ["warning", "fault"]
    left, _ = joined([result(declared("norm-momentum", "bn"))], [measured("bn", "metrics")])
    assert [f.severity for f in left] == ["fault"]


def test_a_missing_parameter_is_the_biass_echo() -> None:
    lone = measured("conv", "structure", "parameter-missing")
    assert len(joined([result(declared("bias", "conv"))], [lone])[0]) == 1
    assert len(joined([result(declared("affine", "conv"))], [lone])[0]) == 1
    assert len(joined([result(declared("padding", "conv"))], [lone])[0]) == 2


def test_a_piece_that_runs_through_a_layer() -> None:
    through = measured("block")
    left, folded = joined([result(declared("layer-type", "block.act"))], [through], {id(through): {"block.act"}})
    assert ([f.severity for f in left], len(folded)) == (["fault"], 1)
    left, folded = joined([result(declared("layer-type", "block.act"))], [through], {id(through): {"block.drop"}})
    assert ([f.severity for f in left], len(folded)) == (["warning", "fault"], 0)


def test_claims() -> None:
    mode = declared("eval-mode", "", "structure")
    mode.op = "set_train"
    claim = Claim(frozenset(["drop"]), frozenset(["dropout", "bn"]))
    echoes = [measured("bn.moving_mean", "metrics"), measured("dropout"), measured("x", op="dropout"), measured("fc")]
    left, folded = joined([result(mode, claims={0: claim})], echoes)
    assert [f.message for f in left] == ["eval-mode at ", "diverges at fc"]
    assert len(folded) == 3


def test_equal_warnings_are_one() -> None:
    many = [declared("padding", f"conv{n}") for n in range(4)]
    other = declared("padding", "conv9", value=7)
    left, _ = joined([result(*many, other)], [measured("conv2")])
    assert [f.candidate.path for f in left if f.candidate] == ["conv0", "conv2", "conv9"]
    assert left[0].message.endswith("; so in 2 more layers")


def test_initial_values_of_a_layer_of_another_size() -> None:
    start = declared("initializer", "lstm.weight_ih_l1", "initialization")
    shape = declared("bidirectional", "lstm")
    assert [f.kind for f in joined([result(shape), result(start)], [])[0]] == ["bidirectional"]
    assert len(joined([result(declared("dropout-rate", "lstm")), result(start)], [])[0]) == 2
