"""The tables of `mappings/`: schema, lookup, and arguments in one convention."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from parity import mapping
from parity.entries import Entry, expanded
from parity.errors import MappingError
from parity.mapping import ABSENT, Compared
from parity.mapping import _parse as parse

CONV_REFERENCE = {
    "in_channels": 3, "out_channels": 8, "kernel_size": 3, "stride": 1, "padding": 0, "dilation": 1, "groups": 1,
    "bias": True, "padding_mode": "zeros", "device": None, "dtype": None,
}  # fmt: skip
CONV_CANDIDATE = {
    "in_channels": 3, "out_channels": 8, "kernel_size": 3, "stride": 1, "pad_mode": "same", "padding": 0,
    "dilation": 1, "group": 1, "has_bias": False, "weight_init": None, "bias_init": None, "data_format": "NCHW",
    "dtype": "Float32",
}  # fmt: skip


def entry(text: str) -> list[Entry]:
    return parse(text, "test.toml:1", "test")


def test_all_tables_fit_the_schema() -> None:
    entries = mapping.load()
    assert len(entries) > 1000
    unproven = [e.names for e in entries if not (e.proof or e.cpu or e.reason or e.alias_of)]
    assert unproven == []


HEAD = '[[entry]]\nkind = "layer"\nreference = "torch.nn.A"\ncandidate = "mindspore.nn.A"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "colour = 1\n", "unknown field `colour`"),
        (HEAD + 'parameters = ["a=1 -> b=2 : sideways"]\n', "unknown transform 'sideways'"),
        (HEAD + 'parameters = ["a=1 -> b=2 : same, perhaps"]\n', "unknown mark"),
        (HEAD + 'parameters = ["-> "]\n', "not a parameter"),
        (HEAD.replace("layer", "animal"), "unknown kind 'animal'"),
        (HEAD.replace('candidate = "mindspore.nn.A"\n', ""), "says why in `reason`"),
        (HEAD + 'weights = ["a -> b : upside_down"]\n', "not a weight"),
        (HEAD + 'initializers = ["weight"]\n', "not an initializer"),
        (HEAD + 'cpu = "slow"\n', "unknown cpu 'slow'"),
        (HEAD + 'proof = [{expect = "maybe"}]\n', "unknown expect 'maybe'"),
        (HEAD + 'proof = [{reference_code = "result = 1"}]\n', "given together"),
        ("[[entry]\n", "test.toml:1"),
    ],
)
def test_what_does_not_fit_the_schema_is_an_error(text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message) as caught:
        entry(text)
    assert "test.toml:1" in caught.value.message


def test_a_pair_has_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    for name in ("one", "two"):
        (tmp_path / "torch" / f"{name}.toml").write_text(HEAD)
    monkeypatch.setattr(mapping, "folder", lambda: tmp_path)
    with pytest.raises(MappingError, match=r"torch\.nn\.A -> mindspore\.nn\.A has two entries"):
        mapping.load()


def test_defaults_are_compared_after_their_transform() -> None:
    lines = [
        "eps=1e-05 -> epsilon=1e-07", "momentum=0.1 -> momentum=0.9 : one_minus", "size=3 -> size=(3, 3)",
        "betas=(0.9, 0.999) -> beta2=0.99 : item1", "dim=None -> axis=-1 : same, equal", "a=1 ->", "weight=None",
    ]  # fmt: skip
    made = entry(HEAD + f"parameters = {lines!r}\n".replace("'", '"'))[0]
    assert [p.differs for p in made.parameters] == [True, False, False, True, False, False, False]
    assert made.parameters[5].candidate is None and made.parameters[5].candidate_default is ABSENT
    assert made.parameters[6].candidate == "weight" and made.parameters[6].candidate_default is None


def test_other_names_are_entries_of_their_own() -> None:
    text = HEAD.replace("torch.nn.A", "torch.abs").replace("mindspore.nn.A", "mindspore.ops.abs")
    text += 'also = ["torch.Tensor.abs -> mindspore.Tensor.abs", "torch.absolute"]\nparameters = ["input"]\n'
    first, method, other = entry(text)
    assert method.names == ("torch.Tensor.abs", "mindspore.Tensor.abs") and method.alias_of == "torch.abs"
    assert (method.parameters[0].reference, method.parameters[0].candidate) == ("self", "self")
    assert other.names == ("torch.absolute", "mindspore.ops.abs") and first.alias_of is None


@pytest.mark.parametrize(
    "name",
    [
        "torch.nn.Conv2d", "nn.Conv2d", "Conv2d", "conv2D", "torch.nn.modules.conv.Conv2d",
        "mindspore.nn.layer.conv.Conv2d",
    ],
)  # fmt: skip
def test_a_name_is_found_in_many_forms(name: str) -> None:
    assert ("torch.nn.Conv2d", "mindspore.nn.Conv2d") in [e.names for e in mapping.find(name)]


def test_short_module_names_are_spelt_out() -> None:
    assert {e.reference for e in mapping.find("F.softmax")} == {"torch.nn.functional.softmax"}
    assert {e.candidate for e in mapping.find("ms.nn.Dense")} == {"mindspore.nn.Dense"}


def test_nearest_names_are_suggested() -> None:
    assert mapping.find("torch.nn.Conv2") == []
    assert "torch.nn.Conv2d" in mapping.suggest("torch.nn.Conv2")
    assert "torch.nn.LayerNorm" in mapping.suggest("LayerNrm")
    assert mapping.suggest("qqqqqqqqqqqq") == []


def test_of_several_classes_the_one_with_the_arguments_is_taken() -> None:
    found = mapping.lookup("Conv2d", "Conv2d", CONV_CANDIDATE)
    assert found is not None and found.candidate == "mindspore.nn.Conv2d"
    found = mapping.lookup("Conv2d", "Conv2d", CONV_REFERENCE)
    assert found is not None and found.candidate == "mindspore.mint.nn.Conv2d"
    assert mapping.lookup("Conv2d", "Dense") is None


def compared(reference: str, candidate: str, *arguments: dict[str, Any], **more: Any) -> dict[str, Compared]:
    found = mapping.lookup(reference, candidate, arguments[1])
    assert found is not None
    rows = mapping.compare(found, arguments[0], arguments[1], **more)
    return {str(row.parameter.reference or row.parameter.candidate): row for row in rows}


def conv(reference: dict[str, Any], candidate: dict[str, Any], shape: list[int] | None = None) -> dict[str, Compared]:
    return compared("Conv2d", "Conv2d", CONV_REFERENCE | reference, CONV_CANDIDATE | candidate, shape=shape)


def test_a_default_that_differs() -> None:
    rows = compared("LayerNorm", "LayerNorm", {"normalized_shape": [8], "eps": 1e-5},
                    {"normalized_shape": [8], "epsilon": 1e-7, "begin_norm_axis": -1})  # fmt: skip
    assert rows["eps"].equal is False and rows["eps"].expected == 1e-5 and rows["eps"].fix == "epsilon=1e-05"
    assert rows["normalized_shape"].equal is True


@pytest.mark.parametrize(("candidate", "same"), [(0.9, True), (0.1, False), (0.99, False)])
def test_a_complement(candidate: float, same: bool) -> None:
    reference = {"num_features": 3, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
    arguments = {"num_features": 3, "eps": 1e-5, "momentum": candidate, "affine": True, "use_batch_statistics": None}
    row = compared("BatchNorm2d", "BatchNorm2d", reference, arguments)["momentum"]
    assert row.equal is same and row.expected == 0.9 and row.fix == (None if same else "momentum=0.9")


@pytest.mark.parametrize(
    ("reference", "candidate", "shape", "same", "fix"),
    [
        ({"padding": 1}, {"pad_mode": "pad", "padding": 1}, None, True, None),
        ({"padding": [1, 1]}, {"pad_mode": "pad", "padding": 1}, None, True, None),
        ({"padding": 1}, {}, None, True, None),
        ({"padding": 0}, {}, None, False, 'pad_mode="valid"'),
        ({"padding": 0}, {"pad_mode": "valid"}, None, True, None),
        ({"padding": [2, 1]}, {"pad_mode": "pad", "padding": [2, 2, 1, 1]}, None, True, None),
        ({"padding": [2, 1]}, {"pad_mode": "pad", "padding": 1}, None, False, 'pad_mode="pad", padding=(2, 2, 1, 1)'),
        ({"padding": "same"}, {}, None, True, None),
        ({"padding": 2, "dilation": 2}, {"dilation": 2}, None, True, None),
        ({"padding": 1, "stride": 2}, {"stride": 2}, [1, 3, 8, 8], False, 'pad_mode="pad", padding=1'),
        ({"padding": 1, "stride": 2}, {"stride": 2}, [1, 3, 7, 7], True, None),
        ({"padding": 1, "stride": 2}, {"stride": 2}, None, None, None),
        ({"padding": 0, "stride": 2}, {"stride": 2}, None, False, 'pad_mode="valid"'),
        ({"padding": 0, "kernel_size": 1}, {"kernel_size": [1, 1]}, None, True, None),
    ],
)
def test_padding_and_its_mode_are_one(
    reference: dict[str, Any], candidate: dict[str, Any], shape: list[int] | None, same: bool | None, fix: str | None
) -> None:
    row = conv(reference, candidate, shape)["padding"]
    assert (row.equal, row.fix) == (same, fix)


def test_a_flag_under_another_name() -> None:
    assert conv({}, {})["bias"].fix == "has_bias=True"
    assert conv({"bias": False}, {})["bias"].equal is True


@pytest.mark.parametrize(
    ("dim", "axis", "shape", "same"),
    [
        (1, 1, None, True), (-1, -1, None, True), (1, -1, None, None), (1, -1, [2, 3], True), (1, -1, [2, 3, 4], False),
        (None, -1, [2, 3], True), (None, -1, [2, 3, 4], False), (None, -1, [2, 3, 4, 5], False),
    ],
)  # fmt: skip
def test_axes_count_from_either_end(dim: int | None, axis: int, shape: list[int] | None, same: bool | None) -> None:
    assert compared("Softmax", "Softmax", {"dim": dim}, {"axis": axis}, shape=shape)["dim"].equal is same


@pytest.mark.parametrize(
    ("candidate", "same"),
    [
        ({"keep_prob": 0.5, "p": 0.1}, True),
        ({"keep_prob": 0.9, "p": None}, True),
        ({"keep_prob": 0.1, "p": None}, False),
        ({"keep_prob": 0.5, "p": None}, False),
    ],
)
def test_a_dropout_rate_in_either_form(candidate: dict[str, Any], same: bool) -> None:
    row = compared("Dropout", "Dropout", {"p": 0.1, "inplace": False}, candidate | {"dtype": "Float32"})["p"]
    assert row.equal is same and row.fix == (None if same else "p=0.1")


def test_a_flag_for_a_word_and_a_stride_that_is_the_kernel() -> None:
    assert (
        compared("GELU", "GELU", {"approximate": "none"}, {"approximate": True})["approximate"].fix
        == "approximate=False"
    )
    assert compared("GELU", "GELU", {"approximate": "tanh"}, {"approximate": True})["approximate"].equal is True
    reference = {"kernel_size": 2, "stride": None, "padding": 0, "ceil_mode": False}
    nn = {"kernel_size": 2, "stride": 2, "pad_mode": "valid", "padding": 0, "data_format": "NCHW"}
    assert compared("MaxPool2d", "MaxPool2d", reference, nn)["stride"].equal is True
    assert compared("MaxPool2d", "MaxPool2d", reference, nn | {"stride": 1})["stride"].fix == "stride=2"
    mint = {"kernel_size": 2, "stride": None, "padding": 0, "ceil_mode": False}
    assert compared("MaxPool2d", "MaxPool2d", reference | {"stride": 2}, mint)["stride"].equal is True


def test_initializers_and_objects_are_left_undecided() -> None:
    assert conv({}, {"weight_init": "normal"})["weight_init"].equal is None
    adam = compared(
        "Adam", "Adam", {"lr": 0.1, "betas": [0.9, 0.99]}, {"learning_rate": "CosineDecayLR", "beta2": 0.99}
    )
    assert adam["lr"].equal is None


def test_what_only_one_side_has() -> None:
    rows = conv({"padding_mode": "reflect"}, {"pad_mode": "valid"})
    assert rows["padding_mode"].equal is False and rows["padding_mode"].missing
    assert "device" not in rows


def test_padding_that_an_average_leaves_out() -> None:
    entry = mapping.lookup("AvgPool2d", "AvgPool2d")
    assert entry is not None
    mine = {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": True}
    theirs = {"kernel_size": 3, "stride": 2, "pad_mode": "same", "padding": 0, "count_include_pad": True}
    for included, equal in ((True, False), (False, True)):
        rows = mapping.compare(entry, {**mine, "count_include_pad": included}, theirs, [2, 4, 7, 7])
        (row,) = [row for row in rows if row.parameter.reference == "padding"]
        assert row.equal is equal


def test_a_lookup_is_fast_and_imports_no_framework() -> None:
    code = (
        "import sys, time; from parity import mapping; t = time.process_time(); mapping.find('Conv2d'); "
        "mapping.lookup('LayerNorm', 'LayerNorm'); print(time.process_time() - t); "
        "assert not {'torch', 'mindspore'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3


def test_loading_everything_stays_affordable() -> None:
    began = time.process_time()
    mapping.load()
    assert time.process_time() - began < 5


def test_every_public_name_of_an_entry_is_expanded_once() -> None:
    from parity.entries import Raw

    raw = Raw("function", "torch.abs", "mindspore.ops.abs", also=["-> mindspore.mint.abs"])
    with pytest.raises(ValueError, match="begins with the reference's name"):
        expanded(raw, "test")
