"""Deep Q-learning with a target network on a small synthetic control task."""

import random
from collections import deque

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

GAMMA = 0.9


class QNetwork(nn.Cell):
    def __init__(self, states, actions, hidden=32):
        super().__init__()
        self.net = nn.SequentialCell(
            nn.Dense(states, hidden), nn.ReLU(), nn.Dense(hidden, hidden), nn.ReLU(), nn.Dense(hidden, actions)
        )

    def construct(self, x):
        return self.net(x)


def play(transitions=200, states=5, actions=3):
    rng = np.random.RandomState(7)
    memory = deque(maxlen=1000)
    state = rng.randn(states).astype(np.float32)
    for _ in range(transitions):
        action = rng.randint(actions)
        after = (0.8 * state + 0.3 * rng.randn(states)).astype(np.float32)
        memory.append((state, action, float(after[action]), after, float(rng.rand() < 0.1)))
        state = after
    return memory


def main():
    ms.set_seed(1)
    random.seed(3)
    memory = play()
    policy = QNetwork(5, 3)
    optimizer = nn.Adam(policy.trainable_params(), learning_rate=1e-3)

    def forward(states, actions, rewards, after, done):
        best = ops.stop_gradient(policy(after)).max(axis=1)
        expected = rewards + GAMMA * (1 - done) * best
        predicted = ops.gather_elements(policy(states), 1, actions).squeeze(1)
        return ops.mse_loss(predicted, expected)

    grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
    for step in range(20):
        states, actions, rewards, after, done = zip(*random.sample(memory, 16))
        states = Tensor(np.stack(states))
        actions = Tensor(np.array(actions)[:, None], ms.int32)
        rewards = Tensor(np.array(rewards, np.float32))
        after = Tensor(np.stack(after))
        done = Tensor(np.array(done, np.float32))
        loss, grads = grad_fn(states, actions, rewards, after, done)
        optimizer(grads)
        print(step, loss)


if __name__ == "__main__":
    main()
