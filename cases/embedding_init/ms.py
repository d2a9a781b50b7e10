"""Sentiment of short reviews: a bag of averaged word vectors and a small classifier (MindSpore)."""

import argparse

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, XavierUniform, initializer

WORDS, WIDTH, CLASSES = 120, 24, 3


class WordAverage(nn.Cell):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.places = Parameter(initializer(Normal(0.1), (16, WIDTH)), name="places")
        self.hidden = nn.Dense(WIDTH, 32)
        self.norm = nn.LayerNorm((32,), epsilon=1e-5)
        self.out = nn.Dense(32, CLASSES, weight_init=XavierUniform(), bias_init="zeros")

    def construct(self, tokens):
        known = (tokens != 0).astype(ms.float32).expand_dims(-1)
        vectors = (self.words(tokens) + self.places) * known
        mean = vectors.sum(1) / known.sum(1)
        return self.out(self.norm(ops.relu(self.hidden(mean))))


def reviews(count=64, seed=3):
    rng = np.random.RandomState(seed)
    tokens = rng.randint(1, WORDS, (count, 16))
    tokens[np.arange(16) >= rng.randint(6, 17, (count, 1))] = 0
    return tokens.astype(np.int32), rng.randint(0, CLASSES, count).astype(np.int32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.05)
    args = parser.parse_args()
    ms.set_seed(11)
    model = WordAverage()
    criterion = nn.CrossEntropyLoss()
    optimizer = nn.SGD(model.trainable_params(), learning_rate=args.lr, momentum=0.9)
    grad = ms.value_and_grad(lambda x, y: criterion(model(x), y), None, optimizer.parameters)
    model.set_train()
    tokens, labels = reviews()
    for start in range(0, 64, 16):
        loss, gradients = grad(Tensor(tokens[start : start + 16]), Tensor(labels[start : start + 16]))
        optimizer(gradients)
        print(f"loss {float(loss):.4f}")
