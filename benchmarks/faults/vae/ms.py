"""A variational autoencoder with a hand-written loss, ported to MindSpore."""

import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
import numpy as np
from mindspore import Parameter, Tensor


class Encoder(nn.Cell):
    def __init__(self, width, hidden, latent):
        super().__init__()
        self.dense1 = nn.Dense(width, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.elu = nn.ELU()
        self.dense2 = nn.Dense(hidden, hidden)
        self.mean = nn.Dense(hidden, latent)
        self.log_variance = nn.Dense(hidden, latent)

    def construct(self, x):
        h = self.elu(self.norm(self.dense1(x)))
        h = h + ops.silu(self.dense2(h))
        return self.mean(h), self.log_variance(h)


class Generator(nn.Cell):
    def __init__(self, width, hidden, latent):
        super().__init__()
        self.dense1 = nn.Dense(latent, hidden, activation="tanh")
        self.dense2 = nn.Dense(hidden, width)
        self.gain = Parameter(np.ones(width, np.float32))

    def construct(self, z):
        out = self.dense2(self.dense1(z))
        return out * self.gain


class VAE(nn.Cell):
    def __init__(self, width=36, hidden=28, latent=6):
        super().__init__()
        self.encoder = Encoder(width, hidden, latent)
        self.generator = Generator(width, hidden, latent)

    def construct(self, x, noise):
        mu, logvar = self.encoder(x)
        logvar = ops.clamp(logvar, -4.0, 4.0)
        sigma = ops.exp(0.5 * logvar)
        z = mu + noise * sigma
        return self.generator(z), mu, logvar


def elbo(logits, x, mu, logvar, beta=0.5):
    likelihood = ops.maximum(logits, ops.zeros_like(logits)) - logits * x + ops.log1p(ops.exp(-ops.abs(logits)))
    recon = likelihood.sum(1).mean()
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean()
    return recon + beta * kl, recon, kl


def get_batches(count=4, size=10):
    rng = np.random.RandomState(41)
    for _ in range(count):
        x = (rng.rand(size, 36) > 0.6).astype(np.float32)
        noise = rng.randn(size, 6).astype(np.float32)
        yield x, noise


def main():
    ms.set_seed(13)
    vae = VAE()
    optimizer = nn.Momentum(vae.trainable_params(), learning_rate=0.01, momentum=0.9)

    def forward(x, noise):
        logits, mu, logvar = vae(x, noise)
        loss, recon, kl = elbo(logits, x, mu, logvar)
        return loss, recon, kl

    grad_fn = ms.value_and_grad(forward, None, vae.trainable_params(), has_aux=True)
    vae.set_train(True)
    for step, (x, noise) in enumerate(get_batches()):
        (loss, recon, kl), grads = grad_fn(Tensor(x), Tensor(noise))
        optimizer(grads)
        print(f"step={step} loss={float(loss):.6f} recon={float(recon):.4f} kl={float(kl):.4f}")


if __name__ == "__main__":
    main()
