"""Letter-frequency language guesser: a bag-of-characters MLP on 54 short words, 20 to a batch."""
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

WORDS = [
    ("der hund die katze das haus ein baum sehr schnell nach hause immer wieder zwischen uns", 0),
    ("the dog and cat are home with some tree very fast again always between just because we", 1),
    ("le chien et chat sont maison avec arbre tres vite encore toujours entre nous parce que", 2),
]


class Words(Dataset):
    def __init__(self):
        self.items = [(w, lang) for text, lang in WORDS for w in text.split()]
        self.items += [(w[::-1], lang) for w, lang in self.items[::8]]
        self.items.sort(key=lambda item: (len(item[0]), item[0]))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        word, lang = self.items[i]
        counts = torch.zeros(26)
        for letter in word:
            counts[ord(letter) - 97] += 1
        return counts / len(word), lang


class Guesser(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(26, 20)
        self.out = nn.Linear(20, 3)

    def forward(self, counts):
        return self.out(torch.relu(self.hidden(counts)))


torch.manual_seed(40)
batches = DataLoader(Words(), batch_size=20)
guesser = Guesser()
optimizer = torch.optim.Adagrad(guesser.parameters(), lr=0.05, initial_accumulator_value=0.1)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(4):
    for counts, lang in batches:
        optimizer.zero_grad()
        loss = loss_fn(guesser(counts), lang)
        loss.backward()
        optimizer.step()
