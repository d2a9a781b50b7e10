import copy

import numpy as np
import torch
import torch.nn as nn


class QNet(nn.Module):
    def __init__(self, states=6, actions=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(states, 16), nn.ReLU())
        self.value = nn.Linear(16, 1)
        self.advantage = nn.Linear(16, actions)

    def forward(self, s):
        h = self.body(s)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(dim=1, keepdim=True)


class Agent:
    def __init__(self):
        self.online = QNet()
        self.target = copy.deepcopy(self.online).eval()
        for p in self.target.parameters():
            p.requires_grad_(False)
        self.optimizer = torch.optim.SGD(self.online.parameters(), lr=0.05)
        self.gamma, self.tau = 0.9, 0.1

    def learn(self, s, a, r, s2):
        with torch.no_grad():
            best = self.online(s2).argmax(1, keepdim=True)
            goal = r + self.gamma * self.target(s2).gather(1, best)
        q = self.online(s).gather(1, a)
        loss = nn.functional.smooth_l1_loss(q, goal)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.online.parameters()):
                slow.lerp_(fast, self.tau)


torch.manual_seed(44)
agent = Agent()
rng = np.random.RandomState(44)
for step in range(4):
    s, s2 = (torch.from_numpy(rng.randn(10, 6).astype(np.float32)) for _ in range(2))
    a = torch.from_numpy(rng.randint(0, 3, (10, 1)))
    r = torch.from_numpy(rng.randn(10, 1).astype(np.float32))
    agent.learn(s, a, r, s2)
