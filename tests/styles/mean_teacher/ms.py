import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.experimental import optim


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 12, batch_first=True)
        self.norm = nn.LayerNorm((12,), epsilon=1e-5)
        self.out = nn.Dense(12, 4)

    def construct(self, x):
        h, _ = self.lstm(x)
        return self.out(self.norm(h[:, -1]))


class MeanTeacher:
    def __init__(self, lr=0.01, alpha=0.95):
        self.student = Net()
        self.teacher = Net()
        for slow, fast in zip(self.teacher.get_parameters(), self.student.get_parameters()):
            slow.set_data(fast.value())
        self.alpha = alpha
        self.optimizer = optim.AdamW(self.student.trainable_params(), lr=lr, weight_decay=0.01)
        self.steps = 0
        self.grad = ms.value_and_grad(self.loss, None, self.student.trainable_params())

    def loss(self, labelled, labels, unlabelled, noise):
        logits = self.student(ops.cat([labelled, unlabelled + noise]))
        wanted = ops.softmax(self.teacher(unlabelled), axis=1)
        n = len(labelled)
        supervised = ops.cross_entropy(logits[:n], labels)
        consistency = ops.mse_loss(ops.softmax(logits[n:], axis=1), ops.stop_gradient(wanted))
        return supervised + 5.0 * consistency

    def step(self, labelled, labels, unlabelled, noise):
        loss, grads = self.grad(labelled, labels, unlabelled, noise)
        self.optimizer(grads)
        self.ema()
        return loss

    def ema(self):
        self.steps += 1
        alpha = min(1 - 1 / (self.steps + 1), self.alpha)
        for slow, fast in zip(self.teacher.get_parameters(), self.student.get_parameters()):
            slow.set_data(slow * alpha + fast * (1 - alpha))


if __name__ == "__main__":
    ms.set_seed(3)
    rng = np.random.RandomState(3)
    trainer = MeanTeacher()
    for _ in range(8):
        labelled, unlabelled, noise = (Tensor(rng.randn(n, 5, 6).astype(np.float32)) for n in (6, 10, 10))
        labels = Tensor(rng.randint(0, 4, 6), ms.int32)
        print(trainer.step(labelled, labels, unlabelled, 0.1 * noise))
