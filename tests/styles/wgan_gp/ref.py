import numpy as np
import torch
from torch import autograd, nn


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(8, 20), nn.Tanh(), nn.Linear(20, 1))

    def forward(self, x):
        return self.main(x)


def gradient_penalty(critic, real, fake, mix):
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    scores = critic(between)
    grads = autograd.grad(scores, between, torch.ones_like(scores), create_graph=True, retain_graph=True)[0]
    return ((grads.norm(2, dim=1) - 1) ** 2).mean()


torch.manual_seed(10)
generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
critic = Critic()
opt_c = torch.optim.SGD(critic.parameters(), lr=0.01)
opt_g = torch.optim.SGD(generator.parameters(), lr=0.02)
rng = np.random.RandomState(10)
for step in range(4):
    real = torch.from_numpy(rng.randn(12, 8).astype(np.float32))
    z = torch.from_numpy(rng.randn(12, 4).astype(np.float32))
    mix = torch.from_numpy(rng.rand(12, 1).astype(np.float32))
    opt_c.zero_grad()
    fake = generator(z).detach()
    loss_c = critic(fake).mean() - critic(real).mean() + 10.0 * gradient_penalty(critic, real, fake, mix)
    loss_c.backward()
    opt_c.step()
    opt_g.zero_grad()
    loss_g = -critic(generator(z)).mean()
    loss_g.backward()
    opt_g.step()
