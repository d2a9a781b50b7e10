import mindspore as ms
import numpy as np
from mindspore import nn, ops


class Critic(nn.Cell):
    def __init__(self):
        super().__init__()
        self.main = nn.SequentialCell(nn.Dense(8, 20), nn.Tanh(), nn.Dense(20, 1))

    def construct(self, x):
        return self.main(x)


ms.set_seed(10)
generator = nn.SequentialCell(nn.Dense(4, 16), nn.ReLU(), nn.Dense(16, 8))
critic = Critic()
opt_c = nn.SGD(critic.trainable_params(), learning_rate=0.01)
opt_g = nn.SGD(generator.trainable_params(), learning_rate=0.02)
input_grad = ms.grad(lambda x: critic(x).sum(), 0)


def gradient_penalty(real, fake, mix):
    between = mix * real + (1 - mix) * fake
    grads = input_grad(between)
    return ((ops.sqrt((grads * grads).sum(1)) - 1) ** 2).mean()


def critic_loss(real, z, mix):
    fake = ops.stop_gradient(generator(z))
    return critic(fake).mean() - critic(real).mean() + 10.0 * gradient_penalty(real, fake, mix)


def generator_loss(z):
    return -critic(generator(z)).mean()


grad_c = ms.value_and_grad(critic_loss, None, opt_c.parameters)
grad_g = ms.value_and_grad(generator_loss, None, opt_g.parameters)
rng = np.random.RandomState(10)
for step in range(4):
    real = ms.Tensor(rng.randn(12, 8).astype(np.float32))
    z = ms.Tensor(rng.randn(12, 4).astype(np.float32))
    mix = ms.Tensor(rng.rand(12, 1).astype(np.float32))
    loss_c, grads = grad_c(real, z, mix)
    opt_c(grads)
    loss_g, grads = grad_g(z)
    opt_g(grads)
