"""`parity explain`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parity.cli import main


def explained(capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, Any]]:
    assert main(["explain", name, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    return list(document["entries"])


def row(entry: dict[str, Any], reference: str | None, candidate: str | None) -> dict[str, Any]:
    rows = [p for p in entry["parameters"] if (p["reference"], p["candidate"]) == (reference, candidate)]
    assert len(rows) == 1
    return dict(rows[0])


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    entries = explained(capsys, "torch.nn.Conv2d")
    assert [e["candidate"] for e in entries] == ["mindspore.nn.Conv2d", "mindspore.mint.nn.Conv2d"]
    conv = entries[0]
    assert conv["verified"] == {"torch": "2.13.0", "mindspore": "2.10.0"}
    padding = row(conv, "padding", "padding")
    assert (padding["reference_default"], padding["candidate_default"], padding["transform"]) == (0, 0, "padding")
    assert row(conv, None, "pad_mode")["differs"] and row(conv, None, "pad_mode")["candidate_default"] == "same"
    bias = row(conv, "bias", "has_bias")
    assert (bias["reference_default"], bias["candidate_default"], bias["differs"]) == (True, False, True)
    assert row(conv, "padding_mode", None)["candidate_default"] is None
    assert row(conv, None, "data_format")["reference"] is None
    assert any("asymmetric" in sentence for sentence in conv["semantics"])
    assert 'pad_mode="pad"' in conv["fix"]


def test_initial_values_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    embedding = explained(capsys, "mindspore.nn.Embedding")[0]
    assert embedding["initializers"] == [
        {
            "reference": "weight", "reference_initializer": "normal(0, 1)",
            "candidate": "embedding_table", "candidate_initializer": "normal(0, 0.01)", "differs": True,
        }
    ]  # fmt: skip


def test_defaults_without_a_json_value_are_their_repr(capsys: pytest.CaptureFixture[str]) -> None:
    layer = explained(capsys, "torch.nn.TransformerEncoderLayer")[0]
    activation = row(layer, "activation", "activation")
    assert activation["reference_default"].startswith("<function relu") and activation["candidate_default"] == "relu"
    assert row(layer, "dtype", "dtype")["candidate_default"] == "mindspore.float32"


def test_the_arguments_of_the_call_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    loss = explained(capsys, "torch.nn.CrossEntropyLoss")[0]
    assert row(loss, "target", "labels")["call"] and not row(loss, "weight", "weight")["call"]
    assert "At the call: input is called logits, target is called labels." in loss["semantics"]
    cell = explained(capsys, "mindspore.nn.LSTMCell")[0]
    assert "At the call: input is called x, hx is required." in cell["semantics"]
    lstm = explained(capsys, "mindspore.nn.LSTM")[0]
    assert any("only the candidate has seq_length (None by default)" in s for s in lstm["semantics"])


@pytest.mark.parametrize(
    ("name", "reference", "candidate"),
    [
        ("P.MatMul", "torch.matmul", "mindspore.ops.matmul"),
        ("loss.backward", "torch.autograd.backward", "mindspore.value_and_grad"),
        ("he_uniform", "torch.nn.init.kaiming_uniform_", "mindspore.common.initializer.HeUniform"),
        ("batch_norm2d", "torch.nn.BatchNorm2d", "mindspore.nn.BatchNorm2d"),
        ("bn1.running_mean", "torch.nn.BatchNorm2d", "mindspore.nn.BatchNorm2d"),
        ("moving_mean", "torch.nn.BatchNorm3d", "mindspore.nn.BatchNorm3d"),
        ("keep_prob", "torch.nn.Dropout", "mindspore.nn.Dropout"),
        ("O2", "torch.autocast", "mindspore.amp.auto_mixed_precision"),
    ],
)
def test_what_a_script_writes_is_found(
    capsys: pytest.CaptureFixture[str], name: str, reference: str, candidate: str
) -> None:
    assert (reference, candidate) in [(e["reference"], e["candidate"]) for e in explained(capsys, name)]


def test_a_primitive_is_told_after_functions(capsys: pytest.CaptureFixture[str]) -> None:
    assert [e["candidate"] for e in explained(capsys, "torch.cat")] == [
        "mindspore.ops.cat", "mindspore.mint.cat", "mindspore.ops.Concat",
    ]  # fmt: skip
    dropout = explained(capsys, "P.Dropout")[0]
    keep = row(dropout, "p", "keep_prob")
    assert dropout["candidate"] == "mindspore.ops.Dropout" and keep["transform"] == "one_minus"
    assert any("Returns (output, mask)" in sentence for sentence in dropout["semantics"])


def test_a_name_of_constructor_and_call_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    rows = explained(capsys, "torch.nn.PoissonNLLLoss")[0]["parameters"]
    assert [p["reference_default"] for p in rows if p["reference"] == "log_input"] == [True]


def test_what_mindspore_alone_has(capsys: pytest.CaptureFixture[str]) -> None:
    entry = explained(capsys, "mindspore.Model")[0]
    assert entry["reference"] is None and "training mode" in entry["semantics"][0]


def test_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "torch.nn.LayerNorm"]) == 0
    text = capsys.readouterr().out
    assert "torch.nn.LayerNorm -> mindspore.nn.LayerNorm" in text
    assert any(line.split()[:4] == ["eps", "1e-05", "epsilon", "1e-07"] for line in text.splitlines())
    assert "nn.LayerNorm((128,), epsilon=1e-5)" in text


def test_a_name_without_a_counterpart_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    entry = explained(capsys, "torch.nn.LazyLinear")[0]
    assert entry["candidate"] is None and "give the size" in entry["reason"]


def test_a_misspelt_name_is_an_error_with_suggestions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "torch.nn.Conv2", "--format", "json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["slug"] == "unknown-name" and "torch.nn.Conv2d" in error["hint"]
