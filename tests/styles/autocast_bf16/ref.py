import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Classifier(nn.Module):
    def __init__(self, vocab=50, dim=16, classes=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        self.conv = nn.Conv1d(dim, 24, 3, padding=1)
        self.fc1 = nn.Linear(24, 16)
        self.fc2 = nn.Linear(16, classes)

    def forward(self, ids):
        x = self.embed(ids).transpose(1, 2)
        x = F.relu(self.conv(x)).amax(2)
        return self.fc2(F.relu(self.fc1(x)))


torch.manual_seed(14)
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
rng = np.random.RandomState(14)
ids = torch.from_numpy(rng.randint(0, 50, (32, 10)))
labels = torch.from_numpy(rng.randint(0, 4, 32))
for step in range(4):
    take = slice(step * 8, step * 8 + 8)
    optimizer.zero_grad()
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        logits = model(ids[take])
    loss = F.cross_entropy(logits.float(), labels[take])
    loss.backward()
    optimizer.step()
