import numpy as np
import torch
from torch import nn

torch.manual_seed(1)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(6, 24), nn.ReLU(True), nn.Linear(24, 10), nn.Tanh())

    def forward(self, z):
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(10, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))

    def forward(self, x):
        return self.main(x)


G, D = Generator(), Discriminator()
opt_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
opt_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
criterion = nn.BCEWithLogitsLoss()
rng = np.random.RandomState(3)
real_data = rng.randn(64, 10).astype("float32")
noise = rng.randn(64, 6).astype("float32")
for i in range(4):
    real = torch.tensor(real_data[i * 16 : (i + 1) * 16])
    z = torch.tensor(noise[i * 16 : (i + 1) * 16])
    ones, zeros = torch.ones(16, 1), torch.zeros(16, 1)
    opt_d.zero_grad()
    loss_d = criterion(D(real), ones) + criterion(D(G(z).detach()), zeros)
    loss_d.backward()
    opt_d.step()
    opt_g.zero_grad()
    loss_g = criterion(D(G(z)), ones)
    loss_g.backward()
    opt_g.step()
    print(loss_d.item(), loss_g.item())
