"""Digits from row profiles: a small classifier that is validated after every epoch (MindSpore)."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops


class Profiles(nn.Cell):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Dense(12, 24)
        self.norm = nn.BatchNorm1d(24)
        self.drop = nn.Dropout(p=0.25)
        self.out = nn.Dense(24, 5)

    def construct(self, x):
        return self.out(self.drop(ops.relu(self.norm(self.hidden(x)))))


def dataset(rng, count, batch_size):
    labels = rng.randint(0, 5, count).astype(np.int32)
    rows = rng.randn(count, 12).astype(np.float32) + labels[:, None].astype(np.float32)
    return ds.NumpySlicesDataset((rows, labels), ["rows", "labels"], shuffle=False).batch(batch_size)


def validate(model, loader):
    model.set_train(False)
    hits = total = 0
    for rows, labels in loader.create_tuple_iterator():
        hits += int((model(rows).argmax(1) == labels).sum())
        total += len(labels)
    return hits / total


ms.set_seed(3)
rng = np.random.RandomState(3)
train_loader = dataset(rng, 32, 16)
valid_loader = dataset(rng, 24, 12)
model = Profiles()
criterion = nn.CrossEntropyLoss()
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.05, momentum=0.9)
step = nn.TrainOneStepCell(nn.WithLossCell(model, criterion), optimizer)
for epoch in range(4):
    model.set_train()
    for rows, labels in train_loader.create_tuple_iterator():
        loss = step(rows, labels)
    print(f"epoch {epoch}: loss {float(loss):.4f}, accuracy {validate(model, valid_loader):.3f}")
