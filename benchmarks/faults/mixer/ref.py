"""An MLP-mixer with layer scale, trained with parameter groups, in plain PyTorch."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Shapes(Dataset):
    def __init__(self, count=24):
        rng = np.random.RandomState(29)
        self.images = rng.randn(count, 3, 16, 16).astype(np.float32)
        self.targets = rng.randn(count, 4).astype(np.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class MixerBlock(nn.Module):
    def __init__(self, tokens, channels):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.token_mix = Mlp(tokens, 2 * tokens)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.channel_mix = Mlp(channels, 3 * channels)
        self.gamma1 = nn.Parameter(0.1 * torch.ones(channels))
        self.gamma2 = nn.Parameter(0.1 * torch.ones(channels))

    def forward(self, x):
        x = x + self.gamma1 * self.token_mix(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.gamma2 * self.channel_mix(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, patch=4, channels=24, depth=2, outputs=4):
        super().__init__()
        tokens = (16 // patch) ** 2
        self.patch_embed = nn.Conv2d(3, channels, patch, stride=patch)
        self.blocks = nn.Sequential(*[MixerBlock(tokens, channels) for _ in range(depth)])
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = self.norm(self.blocks(x))
        return self.head(x.mean(dim=1))


if __name__ == "__main__":
    torch.manual_seed(21)
    loader = DataLoader(Shapes(), batch_size=6, shuffle=False)
    model = Mixer()
    criterion = nn.SmoothL1Loss(beta=0.5)
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0, "lr": 0.2}],
        lr=0.1,
        momentum=0.9,
    )
    model.train()
    for step, (images, targets) in enumerate(loader, start=1):
        loss = criterion(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"epoch: 1 step: {step}, loss is {loss.item():.7f}")
