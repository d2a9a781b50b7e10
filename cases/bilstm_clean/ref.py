"""Language identification of character strings with a BiLSTM (PyTorch)."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

CHARS = "abcdefghijklmnopqrstuvwxyz "
EMB, HID, LANGS, LENGTH = 16, 24, 5, 20


class CharDataset(Dataset):
    """Every 'language' is a distribution over characters; strings are drawn from it."""

    def __init__(self, size=64, seed=77):
        rng = np.random.default_rng(seed)
        unigram = rng.dirichlet(np.full(len(CHARS), 0.5), size=LANGS)
        self.y = rng.integers(0, LANGS, size)
        self.x = np.stack([rng.choice(len(CHARS), LENGTH, p=unigram[k]) for k in self.y])

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class BiLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(CHARS), EMB)
        self.lstm = nn.LSTM(EMB, HID, num_layers=1, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(2 * HID, HID)
        self.out = nn.Linear(HID, LANGS)

    def forward(self, chars):
        states, _ = self.lstm(self.embed(chars))
        pooled = states.mean(dim=1)
        return self.out(torch.tanh(self.hidden(pooled)))


def train(epochs=1):
    torch.manual_seed(31)
    loader = DataLoader(CharDataset(), batch_size=12, shuffle=False, drop_last=False)
    model = BiLSTM()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.8)
    loss_fn = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(epochs):
        for n, (chars, lang) in enumerate(loader):
            pred = model(chars)
            loss = loss_fn(pred, lang)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            acc = (pred.argmax(1) == lang).float().mean().item()
            print(f"{epoch}/{n}  loss {loss.item():.4f}  acc {acc:.2f}")


if __name__ == "__main__":
    train()
