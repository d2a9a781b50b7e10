"""A small DCGAN on made-up pictures."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal

conv_init = Normal(0.02)
norm_init = Normal(0.02, 1.0)


def up(cin, cout, stride, padding):
    return nn.Conv2dTranspose(cin, cout, 4, stride, pad_mode="pad", padding=padding, weight_init=conv_init)


def down(cin, cout, stride, padding):
    return nn.Conv2d(cin, cout, 4, stride, pad_mode="pad", padding=padding, weight_init=conv_init)


class Generator(nn.Cell):
    def __init__(self, nz=8, ngf=6):
        super().__init__()
        self.main = nn.SequentialCell(
            up(nz, ngf * 2, 1, 0),
            nn.BatchNorm2d(ngf * 2, gamma_init=norm_init),
            nn.ReLU(),
            up(ngf * 2, ngf, 2, 1),
            nn.BatchNorm2d(ngf, gamma_init=norm_init),
            nn.ReLU(),
            up(ngf, 1, 2, 1),
            nn.Tanh(),
        )

    def construct(self, z):
        return self.main(z)


class Discriminator(nn.Cell):
    def __init__(self, ndf=6):
        super().__init__()
        self.main = nn.SequentialCell(
            down(1, ndf, 2, 1),
            nn.LeakyReLU(0.2),
            down(ndf, ndf * 2, 2, 1),
            nn.BatchNorm2d(ndf * 2, gamma_init=norm_init),
            nn.LeakyReLU(0.2),
            down(ndf * 2, 1, 1, 0),
            nn.Sigmoid(),
        )

    def construct(self, x):
        return self.main(x).view(-1)


ms.set_seed(999)
rng = np.random.RandomState(999)
netG, netD = Generator(), Discriminator()
netG.set_train()
netD.set_train()
criterion = nn.BCELoss(reduction="mean")
optimizerD = nn.Adam(netD.trainable_params(), learning_rate=2e-4, beta1=0.5)
optimizerG = nn.Adam(netG.trainable_params(), learning_rate=2e-4, beta1=0.5)
optimizerD.update_parameters_name("optim_d.")
optimizerG.update_parameters_name("optim_g.")


def forward_d(real, noise, valid, wrong):
    fake = ops.stop_gradient(netG(noise))
    return criterion(netD(real), valid) + criterion(netD(fake), wrong)


def forward_g(noise, valid):
    fake = netG(noise)
    return criterion(netD(fake), valid)


grad_d = ms.value_and_grad(forward_d, None, optimizerD.parameters)
grad_g = ms.value_and_grad(forward_g, None, optimizerG.parameters)
pictures = rng.uniform(-1, 1, (24, 1, 16, 16)).astype(np.float32)
valid, wrong = ops.ones((8,), ms.float32), ops.zeros((8,), ms.float32)

for i in range(3):
    real = ms.Tensor(pictures[i * 8 : i * 8 + 8])
    noise = ms.Tensor(rng.randn(8, 8, 1, 1).astype(np.float32))
    loss_d, grads = grad_d(real, noise, valid, wrong)
    optimizerD(grads)
    loss_g, grads = grad_g(noise, valid)
    optimizerG(grads)
    print(i, loss_d, loss_g)
