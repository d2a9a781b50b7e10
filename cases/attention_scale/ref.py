"""Set regression: estimate mean radius and thickness of a noisy ring from its points.

One self-attention block over the points, then pooling by attention with learned seeds.
"""
import numpy as np
import torch
import torch.nn as nn


class SelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        attn = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.out((attn @ v).transpose(1, 2).reshape(B, N, C))


class AttentionPool(nn.Module):
    """`seeds` learned queries attend to all points"""

    def __init__(self, dim, heads, seeds):
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.seeds = nn.Parameter(torch.randn(seeds, dim))
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q = self.seeds.view(-1, self.heads, self.head_dim).transpose(0, 1)
        k, v = self.kv(x).view(B, N, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        score = torch.matmul(q, k.transpose(-2, -1)) / self.head_dim ** 0.5
        pooled = torch.matmul(score.softmax(-1), v)
        return self.out(pooled.transpose(1, 2).reshape(B, -1, C))


class RingNet(nn.Module):
    def __init__(self, dim=32, heads=4, seeds=2):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(2, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.norm = nn.LayerNorm(dim)
        self.attn = SelfAttention(dim, heads)
        self.norm_out = nn.LayerNorm(dim)
        self.pool = AttentionPool(dim, heads, seeds)
        self.head = nn.Linear(seeds * dim, 2)

    def forward(self, pts):
        x = self.embed(pts)
        x = x + self.attn(self.norm(x))
        x = self.pool(self.norm_out(x))
        return self.head(x.flatten(1))


def rings(n, points=24, seed=8):
    rng = np.random.default_rng(seed)
    r = rng.uniform(0.5, 2.0, (n, 1))
    w = rng.uniform(0.02, 0.3, (n, 1))
    phi = rng.uniform(0, 2 * np.pi, (n, points))
    rad = r + w * rng.standard_normal((n, points))
    pts = np.stack([rad * np.cos(phi), rad * np.sin(phi)], -1).astype(np.float32)
    return pts, np.concatenate([r, w], 1).astype(np.float32)


if __name__ == "__main__":
    torch.manual_seed(64)
    N, BS = 80, 16
    pts, target = rings(N)
    model = RingNet()
    opt = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    mse = nn.MSELoss()
    model.train()
    for i in range(0, N, BS):
        opt.zero_grad()
        loss = mse(model(torch.from_numpy(pts[i:i + BS])), torch.from_numpy(target[i:i + BS]))
        loss.backward()
        opt.step()
        print(i // BS, loss.item())
