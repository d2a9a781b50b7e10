import mindspore as ms
import numpy as np
from mindspore import nn, ops


class ActorCritic(nn.Cell):
    def __init__(self):
        super().__init__()
        self.actor = nn.SequentialCell(nn.Dense(5, 12), nn.Tanh(), nn.Dense(12, 4))
        self.critic = nn.SequentialCell(nn.Dense(5, 12), nn.Tanh(), nn.Dense(12, 1))


ms.set_seed(29)
model = ActorCritic()
actor_opt = nn.SGD(model.actor.trainable_params(), learning_rate=0.02)
critic_opt = nn.SGD(model.critic.trainable_params(), learning_rate=0.05, momentum=0.5)
mse = nn.MSELoss()


def forward(s, a, ret):
    value = model.critic(s).squeeze(1)
    advantage = ops.stop_gradient(ret - value)
    log_prob = ops.log_softmax(model.actor(s), axis=-1)
    chosen = ops.gather_elements(log_prob, 1, a.expand_dims(1)).squeeze(1)
    policy_loss = -(chosen * advantage).mean()
    entropy = -(ops.exp(log_prob) * log_prob).sum(1).mean()
    return policy_loss - 0.01 * entropy + mse(value, ret)


split = len(model.actor.trainable_params())
weights = ms.ParameterTuple(model.actor.trainable_params() + model.critic.trainable_params())
grad_fn = ms.value_and_grad(forward, None, weights)
rng = np.random.RandomState(29)
for _ in range(4):
    s = ms.Tensor(rng.randn(14, 5).astype(np.float32))
    a = ms.Tensor(rng.randint(0, 4, 14), ms.int32)
    ret = ms.Tensor(rng.randn(14).astype(np.float32))
    loss, grads = grad_fn(s, a, ret)
    actor_opt(grads[:split])
    critic_opt(grads[split:])
