import mindspore as ms
import numpy as np
from mindspore import nn, ops

ms.set_seed(1)


class Generator(nn.Cell):
    def __init__(self):
        super().__init__()
        self.main = nn.SequentialCell(nn.Dense(6, 24), nn.ReLU(), nn.Dense(24, 10), nn.Tanh())

    def construct(self, z):
        return self.main(z)


class Discriminator(nn.Cell):
    def __init__(self):
        super().__init__()
        self.main = nn.SequentialCell(nn.Dense(10, 24), nn.LeakyReLU(0.2), nn.Dense(24, 1))

    def construct(self, x):
        return self.main(x)


netG, netD = Generator(), Discriminator()
netG.set_train()
netD.set_train()
opt_d = nn.Adam(netD.trainable_params(), 2e-4, beta1=0.5)
opt_g = nn.Adam(netG.trainable_params(), 2e-4, beta1=0.5)


def bce(logits, target):
    return ops.binary_cross_entropy_with_logits(logits, target, ops.ones_like(logits), ops.ones_like(logits))


def d_forward(real, z, ones, zeros):
    fake = ops.stop_gradient(netG(z))
    return bce(netD(real), ones) + bce(netD(fake), zeros)


def g_forward(z, ones):
    return bce(netD(netG(z)), ones)


d_grad = ms.value_and_grad(d_forward, None, opt_d.parameters)
g_grad = ms.value_and_grad(g_forward, None, opt_g.parameters)
rng = np.random.RandomState(3)
real_data = rng.randn(64, 10).astype("float32")
noise = rng.randn(64, 6).astype("float32")
for i in range(4):
    real = ms.Tensor(real_data[i * 16 : (i + 1) * 16])
    z = ms.Tensor(noise[i * 16 : (i + 1) * 16])
    ones, zeros = ops.ones((16, 1), ms.float32), ops.zeros((16, 1), ms.float32)
    loss_d, grads = d_grad(real, z, ones, zeros)
    opt_d(grads)
    loss_g, grads = g_grad(z, ones)
    opt_g(grads)
    print(loss_d, loss_g)
