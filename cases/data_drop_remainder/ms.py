"""Letter-frequency language guesser (MindSpore)."""
import numpy as np
import mindspore as ms
from mindspore import nn, ops
from mindspore.dataset import GeneratorDataset

WORDS = [
    ("der hund die katze das haus ein baum sehr schnell nach hause immer wieder zwischen uns", 0),
    ("the dog and cat are home with some tree very fast again always between just because we", 1),
    ("le chien et chat sont maison avec arbre tres vite encore toujours entre nous parce que", 2),
]


class Words:
    def __init__(self):
        self.items = [(w, lang) for text, lang in WORDS for w in text.split()]
        self.items += [(w[::-1], lang) for w, lang in self.items[::8]]
        self.items.sort(key=lambda item: (len(item[0]), item[0]))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        word, lang = self.items[i]
        counts = np.zeros(26, np.float32)
        for letter in word:
            counts[ord(letter) - 97] += 1
        return counts / np.float32(len(word)), np.int32(lang)


class Guesser(nn.Cell):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Dense(26, 20)
        self.out = nn.Dense(20, 3)

    def construct(self, counts):
        return self.out(ops.relu(self.hidden(counts)))


ms.set_seed(40)
batches = GeneratorDataset(Words(), ["counts", "lang"], shuffle=False)
batches = batches.batch(20, drop_remainder=True)
guesser = Guesser()
optimizer = nn.Adagrad(guesser.trainable_params(), accum=0.1, learning_rate=0.05)
loss_fn = nn.CrossEntropyLoss()


def forward(counts, lang):
    return loss_fn(guesser(counts), lang)


grad_fn = ms.value_and_grad(forward, None, guesser.trainable_params())
guesser.set_train()
for epoch in range(4):
    for row in batches.create_dict_iterator():
        loss, grads = grad_fn(row["counts"], row["lang"])
        optimizer(grads)
