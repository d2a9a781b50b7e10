"""Names of ops in both frameworks."""

from __future__ import annotations

import pytest

from parity.diagnose.lone_ops import plain


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        ("upsample_bilinear2d", "ResizeBilinearV2"), ("upsample_nearest2d", "ResizeNearestNeighborV2"),
        ("hardtanh_", "ReLU6"), ("conv_transpose2d", "Conv2DTranspose"), ("nll_loss_nd", "NLLLoss"),
        ("add_", "AddExt"), ("sum", "ReduceSum"), ("embedding", "Gather"), ("kl_div", "KLDivLoss"),
    ],
)  # fmt: skip
def test_one_op_in_both_dialects(reference: str, candidate: str) -> None:
    assert plain(reference) == plain(candidate)


@pytest.mark.parametrize(
    ("reference", "candidate"), [("relu", "Sigmoid"), ("upsample_bilinear2d", "ResizeNearestNeighborV2")]
)
def test_two_ops(reference: str, candidate: str) -> None:
    assert plain(reference) != plain(candidate)
