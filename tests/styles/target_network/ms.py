import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class QNet(nn.Cell):
    def __init__(self, states=6, actions=3):
        super().__init__()
        self.body = nn.SequentialCell(nn.Dense(states, 16), nn.ReLU())
        self.value = nn.Dense(16, 1)
        self.advantage = nn.Dense(16, actions)

    def construct(self, s):
        h = self.body(s)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(axis=1, keep_dims=True)


class Agent:
    def __init__(self):
        self.online = QNet()
        self.target = QNet()
        ms.load_param_into_net(self.target, self.online.parameters_dict())
        for p in self.target.get_parameters():
            p.requires_grad = False
        self.optimizer = nn.SGD(self.online.trainable_params(), learning_rate=0.05)
        self.gamma, self.tau = 0.9, 0.1
        self.grad = ms.value_and_grad(self.loss, None, self.optimizer.parameters)

    def loss(self, s, a, goal):
        q = ops.gather_elements(self.online(s), 1, a)
        return ops.smooth_l1_loss(q, goal, reduction="mean")

    def learn(self, s, a, r, s2):
        best = self.online(s2).argmax(1).expand_dims(1)
        goal = r + self.gamma * ops.gather_elements(self.target(s2), 1, best)
        loss, grads = self.grad(s, a, goal)
        self.optimizer(grads)
        for slow, fast in zip(self.target.get_parameters(), self.online.get_parameters()):
            ops.assign(slow, slow + self.tau * (fast - slow))


ms.set_seed(44)
agent = Agent()
rng = np.random.RandomState(44)
for step in range(4):
    s, s2 = (Tensor(rng.randn(10, 6).astype(np.float32)) for _ in range(2))
    a = Tensor(rng.randint(0, 3, (10, 1)).astype(np.int32))
    r = Tensor(rng.randn(10, 1).astype(np.float32))
    agent.learn(s, a, r, s2)
