"""How large the terms are that a gradient sums or subtracts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity.capture.frameworks.torch_force import absolute_terms, cancelled


@pytest.mark.parametrize(
    ("name", "shapes", "position"),
    [
        ("add", [(4, 3), (3,)], 1), ("mul", [(4, 3), (1, 3)], 1), ("mul", [(3,), (4, 3)], 0),
        ("matmul", [(5, 4), (4, 3)], 1), ("matmul", [(5, 4), (4, 3)], 0), ("matmul", [(2, 5, 4), (4, 3)], 1),
    ],
)  # fmt: skip
def test_of_positive_numbers_they_are_the_gradient_itself(
    name: str, shapes: list[tuple[int, ...]], position: int
) -> None:
    torch.manual_seed(0)
    inputs = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    output = getattr(torch, name)(*inputs)
    gradient = torch.rand_like(output)
    (made,) = torch.autograd.grad(output, inputs[position], gradient)
    terms = absolute_terms(name, inputs, position, gradient)
    assert terms is not None
    assert np.allclose(terms, made.numpy(), rtol=1e-12)
    signed = absolute_terms(name, inputs, position, -gradient)
    assert signed is not None and np.array_equal(signed, terms)


def test_of_other_ops_nothing_is_known() -> None:
    assert absolute_terms("atan2", [torch.ones(2), torch.ones(2)], 0, torch.ones(2)) is None


def test_a_log_softmax_that_subtracts_nearly_equal_numbers() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    output = torch.log_softmax(logits, -1)
    assert cancelled(output, -output.exp() * (1 + 1e-2 * torch.tensor([[1.0, -1.0, 0.0]]))) > 50
    assert 1 <= cancelled(output, torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)) < 3
