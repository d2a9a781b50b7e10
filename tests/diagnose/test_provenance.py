"""Where declared values come from, and how a call is written anew."""

from __future__ import annotations

import numpy as np
import pytest

from parity.diagnose.hyper.provenance import origin, rewritten, shown, tidy
from parity.model import LayerInfo, ObjectInfo

LAYER = LayerInfo(0, "norm", "LayerNorm", "ms.py", 57, {"normalized_shape": [8], "epsilon": 1e-7}, ["normalized_shape"])


def test_origin() -> None:
    assert origin(LAYER, "normalized_shape", "mindspore") == "given at ms.py:57"
    assert origin(LAYER, "epsilon", "mindspore") == "MindSpore's default"
    assert origin(LAYER, "epsilon", "torch") == "PyTorch's default"


def test_origin_names_the_expression() -> None:
    made = LayerInfo(0, "opt", "SGD", "ms.py", 9, {"params": "list", "learning_rate": 0.1}, ["params", "learning_rate"])
    made.code = "nn.SGD(net.trainable_params(), args.lr)"
    assert origin(made, "learning_rate", "mindspore") == "given at ms.py:9 as args.lr"
    made.code = "nn.SGD(net.trainable_params(), learning_rate=0.1)"
    assert origin(made, "learning_rate", "mindspore") == "given at ms.py:9"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float(np.float32(0.1)), 0.1),
        (0.1, 0.1),
        (1e-5, 1e-5),
        (0.123456789012, 0.123456789012),
        ([float(np.float32(0.9)), 0.999], [0.9, 0.999]),
        (True, True),
        (float("inf"), float("inf")),
    ],
)
def test_tidy(value: object, expected: object) -> None:
    assert tidy(value) == expected


def test_shown() -> None:
    assert shown(float(np.float32(5e-4))) == "0.0005"


class TestRewritten:
    names = ("keep_prob", "p", "dtype")

    def test_keyword_is_added(self) -> None:
        new = rewritten("nn.LayerNorm((128,))", ["normalized_shape", "epsilon"], "epsilon=1e-05")
        assert new == "nn.LayerNorm((128,), epsilon=1e-05)"

    def test_keyword_is_replaced(self) -> None:
        new = rewritten("nn.BatchNorm2d(c, momentum=0.1)", ["num_features", "eps", "momentum"], "momentum=0.9")
        assert new == "nn.BatchNorm2d(c, momentum=0.9)"

    def test_position_is_replaced_and_what_follows_is_named(self) -> None:
        new = rewritten(
            "nn.Conv2d(3, 8, 5, 2)", ["in_channels", "out_channels", "kernel_size", "stride"], "kernel_size=3"
        )
        assert new == "nn.Conv2d(3, 8, stride=2, kernel_size=3)"

    def test_a_rate_replaces_the_other_rate(self) -> None:
        assert rewritten("nn.Dropout(0.3)", list(self.names), "p=0.3") == "nn.Dropout(p=0.3)"
        assert rewritten("nn.Dropout(keep_prob=0.3)", list(self.names), "p=0.3") == "nn.Dropout(p=0.3)"

    def test_several_arguments(self) -> None:
        new = rewritten("Conv2d(3, 8, 3)", ["in_channels", "out_channels", "kernel_size"], 'pad_mode="pad", padding=1')
        assert new == "Conv2d(3, 8, 3, pad_mode='pad', padding=1)"

    @pytest.mark.parametrize("code", [None, "", "nn.Dense(*sizes)", "nn.Dense(**config)", "x = 1"])
    def test_what_cannot_be_rewritten(self, code: str | None) -> None:
        assert rewritten(code, ["in_channels"], "has_bias=True") == "has_bias=True"


class TestConfigured:
    """An argument that was read from an option or a configuration file says so."""

    options = ObjectInfo("config", "argparse", "args", arguments={"lr": 0.1, "decay": 0.0}, given=["lr"])
    file = ObjectInfo("config", "config.json", "cfg", arguments={"optim": {"lr": 0.1}})

    def said(self, code: str, value: float = 0.1, name: str = "learning_rate") -> str:
        arguments = {"params": None, "learning_rate": value}
        made = ObjectInfo("optimizer", "Adam", "opt", "ms.py", 9, arguments, ["params", "learning_rate"], [], code)
        return origin(made, name, "mindspore", [self.options, self.file])

    def test_an_option(self) -> None:
        assert self.said("Adam(ps, args.lr)") == "given at ms.py:9 as args.lr, a command-line option"
        text = self.said("Adam(ps, learning_rate=self.args.decay)", 0.0)
        assert text == "given at ms.py:9 as self.args.decay, a command-line option at its default"

    def test_a_file(self) -> None:
        text = self.said("Adam(ps, cfg['optim']['lr'])")
        assert text == "given at ms.py:9 as cfg['optim']['lr'], from config.json"

    def test_another_value_is_not_from_there(self) -> None:
        assert self.said("Adam(ps, args.lr)", 0.2) == "given at ms.py:9 as args.lr"
        assert self.said("Adam(ps, 2 * args.lr)") == "given at ms.py:9 as 2 * args.lr"
