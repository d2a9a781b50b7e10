"""A residual forecaster of a noisy wave; all weights come from one NumPy generator of the project."""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

generator = np.random.default_rng(7)


def he_normal(fan_out: int, fan_in: int) -> Tensor:
    return Tensor(generator.normal(0.0, math.sqrt(2.0 / fan_in), (fan_out, fan_in)).astype(np.float32))


class Block(nn.Cell):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Dense(width, 2 * width)
        self.outer = nn.Dense(2 * width, width)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return x + self.outer(self.relu(self.inner(x)))


class Forecaster(nn.Cell):
    def __init__(self, window: int = 24, width: int = 32, horizon: int = 6) -> None:
        super().__init__()
        self.embed = nn.Dense(window, width)
        self.blocks = nn.SequentialCell(*[Block(width) for _ in range(2)])
        self.head = nn.Dense(width, horizon)
        for _, cell in self.cells_and_names():
            if isinstance(cell, nn.Dense):
                cell.weight.set_data(he_normal(cell.out_channels, cell.in_channels))
                cell.bias.set_data(ms.ops.zeros(cell.bias.shape, ms.float32))

    def construct(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x)))


def windows(count: int, window: int = 24, horizon: int = 6) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.RandomState(3)
    time = np.arange(count + window + horizon)
    wave = np.sin(time / 5.0) + 0.1 * noise.randn(time.size)
    inputs = np.stack([wave[i : i + window] for i in range(count)])
    targets = np.stack([wave[i + window : i + window + horizon] for i in range(count)])
    return inputs.astype(np.float32), targets.astype(np.float32)


def main() -> None:
    inputs, targets = windows(160)
    model = Forecaster()
    optimizer = nn.Adam(model.trainable_params(), learning_rate=1e-3)
    loss_function = nn.MSELoss()
    step = ms.value_and_grad(lambda x, y: loss_function(model(x), y), None, optimizer.parameters)
    model.set_train()
    for epoch in range(2):
        for start in range(0, len(inputs), 16):
            loss, gradients = step(Tensor(inputs[start : start + 16]), Tensor(targets[start : start + 16]))
            optimizer(gradients)
        print(f"epoch {epoch}: {float(loss):.4f}")


if __name__ == "__main__":
    main()
