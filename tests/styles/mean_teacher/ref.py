import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 12, batch_first=True)
        self.norm = nn.LayerNorm(12)
        self.out = nn.Linear(12, 4)

    def forward(self, x):
        h, _ = self.lstm(x)
        return self.out(self.norm(h[:, -1]))


class MeanTeacher:
    def __init__(self, lr=0.01, alpha=0.95):
        self.student = Net()
        self.teacher = Net()
        self.teacher.load_state_dict(self.student.state_dict())
        self.alpha = alpha
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=lr, weight_decay=0.01)
        self.steps = 0

    def step(self, labelled, labels, unlabelled, noise):
        with torch.no_grad():
            wanted = F.softmax(self.teacher(unlabelled), dim=1)
        logits = self.student(torch.cat([labelled, unlabelled + noise]))
        n = len(labelled)
        supervised = F.cross_entropy(logits[:n], labels)
        consistency = F.mse_loss(F.softmax(logits[n:], dim=1), wanted)
        loss = supervised + 5.0 * consistency
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.ema()
        return loss.item()

    def ema(self):
        self.steps += 1
        alpha = min(1 - 1 / (self.steps + 1), self.alpha)
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters()):
            slow.data.mul_(alpha).add_(fast.data, alpha=1 - alpha)


if __name__ == "__main__":
    torch.manual_seed(3)
    rng = np.random.RandomState(3)
    trainer = MeanTeacher()
    for _ in range(8):
        labelled, unlabelled, noise = (torch.from_numpy(rng.randn(n, 5, 6).astype(np.float32)) for n in (6, 10, 10))
        labels = torch.from_numpy(rng.randint(0, 4, 6))
        print(trainer.step(labelled, labels, unlabelled, 0.1 * noise))
