import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 4))
        self.critic = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 1))


torch.manual_seed(29)
model = ActorCritic()
actor_opt = torch.optim.SGD(model.actor.parameters(), lr=0.02)
critic_opt = torch.optim.SGD(model.critic.parameters(), lr=0.05, momentum=0.5)
rng = np.random.RandomState(29)
for _ in range(4):
    s = torch.from_numpy(rng.randn(14, 5).astype(np.float32))
    a = torch.from_numpy(rng.randint(0, 4, 14))
    ret = torch.from_numpy(rng.randn(14).astype(np.float32))
    value = model.critic(s).squeeze(1)
    advantage = (ret - value).detach()
    log_prob = F.log_softmax(model.actor(s), dim=-1)
    policy_loss = -(log_prob.gather(1, a[:, None]).squeeze(1) * advantage).mean()
    entropy = -(log_prob.exp() * log_prob).sum(1).mean()
    value_loss = F.mse_loss(value, ret)
    actor_opt.zero_grad()
    critic_opt.zero_grad()
    (policy_loss - 0.01 * entropy).backward()
    value_loss.backward()
    actor_opt.step()
    critic_opt.step()
