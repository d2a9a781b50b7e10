"""Deep Q-learning with a target network on a small synthetic control task."""

import copy
import random
from collections import deque

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

GAMMA = 0.9
TAU = 0.1


class QNetwork(nn.Module):
    def __init__(self, states, actions, hidden=32):
        super().__init__()
        self.fc1 = nn.Linear(states, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, actions)

    def forward(self, x):
        return self.head(F.relu(self.fc2(F.relu(self.fc1(x)))))


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
    torch.manual_seed(1)
    random.seed(3)
    memory = play()
    policy = QNetwork(5, 3)
    target = copy.deepcopy(policy)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    for step in range(20):
        states, actions, rewards, after, done = zip(*random.sample(memory, 16))
        states = torch.from_numpy(np.stack(states))
        actions = torch.tensor(actions).unsqueeze(1)
        rewards = torch.tensor(rewards, dtype=torch.float32)
        after = torch.from_numpy(np.stack(after))
        done = torch.tensor(done, dtype=torch.float32)
        with torch.no_grad():
            best = target(after).max(1)[0]
            expected = rewards + GAMMA * (1 - done) * best
        predicted = policy(states).gather(1, actions).squeeze(1)
        loss = F.mse_loss(predicted, expected)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for slow, fast in zip(target.parameters(), policy.parameters()):
            slow.data.copy_(TAU * fast.data + (1 - TAU) * slow.data)
        print(step, loss.item())


if __name__ == "__main__":
    main()
