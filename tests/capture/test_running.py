"""What is noted of running statistics that were updated differently."""

from __future__ import annotations

import numpy as np
import pytest

from parity.capture.running import name_update
from parity.measured import Measured

OLD = np.array([0.0, 0.5, -1.0, 2.0])
STATISTIC = np.array([1.0, -0.3, 0.7, 4.0])


def noted(theirs: np.ndarray, momentum: object = 0.1) -> dict[str, float]:
    record = Measured(0, "metrics", "buffer", "bn.running_var", 0, "", "bn.moving_variance", -1)
    name_update(record, OLD, 0.9 * OLD + 0.1 * STATISTIC, theirs, momentum)
    return record.alternatives


def test_another_momentum() -> None:
    found = noted(0.97 * OLD + 0.03 * STATISTIC)
    assert found["momentum"] == pytest.approx(0.03)
    assert found["momentum-rest"] < 1e-12
    assert found["own-momentum"] == 0.1
    assert found["variance-rest"] > 0.1


def test_another_variance() -> None:
    found = noted(0.9 * OLD + 0.1 * STATISTIC * 31 / 32)
    assert found["variance"] == pytest.approx(31 / 32)
    assert found["variance-rest"] < 1e-12
    assert found["momentum-rest"] > 1e-3


def test_something_else() -> None:
    found = noted(STATISTIC[::-1])
    assert min(found["momentum-rest"], found["variance-rest"]) > 0.1


@pytest.mark.parametrize("momentum", [None, 0.0, 1.0, "0.1"])
def test_no_momentum_to_start_from(momentum: object) -> None:
    assert noted(OLD, momentum) == {}
