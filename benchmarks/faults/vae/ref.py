"""A variational autoencoder with a hand-written loss, in plain PyTorch."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Encoder(nn.Module):
    def __init__(self, width, hidden, latent):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.mu = nn.Linear(hidden, latent)
        self.logvar = nn.Linear(hidden, latent)

    def forward(self, x):
        h = F.elu(self.bn(self.fc1(x)))
        h = h + F.silu(self.fc2(h))
        return self.mu(h), self.logvar(h)


class Decoder(nn.Module):
    def __init__(self, width, hidden, latent):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, width))
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, z):
        return self.net(z) * self.gain


class VAE(nn.Module):
    def __init__(self, width=36, hidden=28, latent=6):
        super().__init__()
        self.encoder = Encoder(width, hidden, latent)
        self.decoder = Decoder(width, hidden, latent)

    def forward(self, x, noise):
        mu, logvar = self.encoder(x)
        logvar = logvar.clamp(-4.0, 4.0)
        z = mu + noise * torch.exp(0.5 * logvar)
        return self.decoder(z), mu, logvar


def elbo(logits, x, mu, logvar, beta=0.5):
    recon = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean()
    return recon + beta * kl, recon, kl


def get_batches(count=4, size=10):
    rng = np.random.RandomState(41)
    for _ in range(count):
        x = (rng.rand(size, 36) > 0.6).astype(np.float32)
        noise = rng.randn(size, 6).astype(np.float32)
        yield x, noise


def main():
    torch.manual_seed(13)
    vae = VAE()
    optimizer = torch.optim.SGD(vae.parameters(), lr=0.01, momentum=0.9)
    vae.train()
    for step, (x, noise) in enumerate(get_batches()):
        x, noise = torch.tensor(x), torch.tensor(noise)
        optimizer.zero_grad()
        logits, mu, logvar = vae(x, noise)
        loss, recon, kl = elbo(logits, x, mu, logvar)
        loss.backward()
        optimizer.step()
        print(f"step={step} loss={loss.item():.6f} recon={recon.item():.4f} kl={kl.item():.4f}")


if __name__ == "__main__":
    main()
