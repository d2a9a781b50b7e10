import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.experimental import optim


class Actor(nn.Cell):
    def __init__(self, s, a):
        super().__init__()
        self.l1 = nn.Dense(s, 24, activation="relu")
        self.l2 = nn.Dense(24, a, activation="tanh")

    def construct(self, s):
        return self.l2(self.l1(s))


class Critic(nn.Cell):
    def __init__(self, s, a):
        super().__init__()
        self.l1 = nn.Dense(s + a, 24)
        self.l2 = nn.Dense(24, 24)
        self.l3 = nn.Dense(24, 1)

    def construct(self, s, a):
        q = ops.relu(self.l1(ops.concat((s, a), 1)))
        return self.l3(ops.relu(self.l2(q)))


def copy_to(target, source, tau=1.0):
    for t, p in zip(target.get_parameters(), source.get_parameters()):
        ops.assign(t, tau * p + (1 - tau) * t)


class DDPG:
    def __init__(self, s, a, discount=0.99, tau=0.005):
        self.actor, self.actor_target = Actor(s, a), Actor(s, a)
        self.critic, self.critic_target = Critic(s, a), Critic(s, a)
        copy_to(self.actor_target, self.actor)
        copy_to(self.critic_target, self.critic)
        self.actor_optimizer = optim.Adam(self.actor.trainable_params(), lr=1e-3)
        self.critic_optimizer = optim.Adam(self.critic.trainable_params(), weight_decay=1e-2)
        self.critic_grad = ms.value_and_grad(self.critic_loss, None, self.critic.trainable_params())
        self.actor_grad = ms.value_and_grad(self.actor_loss, None, self.actor.trainable_params())
        self.discount = discount
        self.tau = tau

    def critic_loss(self, state, action, target_q):
        return ops.mse_loss(self.critic(state, action), target_q)

    def actor_loss(self, state):
        return -self.critic(state, self.actor(state)).mean()

    def train(self, state, action, next_state, reward, not_done):
        target_q = self.critic_target(next_state, self.actor_target(next_state))
        target_q = reward + not_done * self.discount * target_q
        _, grads = self.critic_grad(state, action, target_q)
        self.critic_optimizer(grads)
        _, grads = self.actor_grad(state)
        self.actor_optimizer(grads)
        copy_to(self.critic_target, self.critic, self.tau)
        copy_to(self.actor_target, self.actor, self.tau)


ms.set_seed(0)
rng = np.random.RandomState(0)
agent = DDPG(6, 2)
for _ in range(6):
    batch = [rng.randn(32, n).astype(np.float32) for n in (6, 2, 6, 1)] + [(rng.rand(32, 1) > 0.1).astype(np.float32)]
    agent.train(*map(Tensor, batch))
