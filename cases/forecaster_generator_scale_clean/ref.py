"""A residual forecaster of a noisy wave; all weights come from one NumPy generator of the project."""

import math

import numpy as np
import torch
from torch import nn

generator = np.random.default_rng(2024)


def he_normal(fan_out: int, fan_in: int) -> torch.Tensor:
    return torch.from_numpy(generator.normal(0.0, math.sqrt(2.0 / fan_in), (fan_out, fan_in)).astype(np.float32))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.outer(torch.relu(self.inner(x)))


class Forecaster(nn.Module):
    def __init__(self, window: int = 24, width: int = 32, horizon: int = 6) -> None:
        super().__init__()
        self.embed = nn.Linear(window, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(2)])
        self.head = nn.Linear(width, horizon)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    module.weight.copy_(he_normal(module.out_features, module.in_features))
                    module.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_function = nn.MSELoss()
    for epoch in range(2):
        for start in range(0, len(inputs), 16):
            x = torch.from_numpy(inputs[start : start + 16])
            y = torch.from_numpy(targets[start : start + 16])
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: {loss.item():.4f}")


if __name__ == "__main__":
    main()
