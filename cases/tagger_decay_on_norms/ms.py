"""Tag the tokens of short sequences: a small MLP over windows, SGD with Nesterov momentum, no decay for norms."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal


class Tagger(nn.Cell):
    def __init__(self, words=50, width=16, tags=6):
        super().__init__()
        self.embed = nn.Embedding(words, width, embedding_table=Normal(1.0))
        self.window = nn.Dense(3 * width, 32)
        self.norm = nn.LayerNorm((32,), epsilon=1e-5)
        self.out = nn.Dense(32, tags)

    def construct(self, tokens):
        x = self.embed(tokens)
        edge = ops.zeros_like(x[:, :1])
        x = ops.cat([edge, x, edge], axis=1)
        x = self.window(ops.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], axis=-1))
        return self.out(ops.relu(self.norm(x)))


def batches(count, rng):
    for _ in range(count):
        tokens = rng.randint(0, 50, (6, 9))
        yield Tensor(tokens, ms.int32), Tensor(tokens % 6, ms.int32)


def main():
    ms.set_seed(0)
    tagger = Tagger()
    weights = [p for p in tagger.trainable_params() if p.ndim > 1]
    others = [p for p in tagger.trainable_params() if p.ndim == 1]
    groups = [{"params": weights + others, "weight_decay": 1e-3}]
    optimizer = nn.SGD(groups, learning_rate=0.2, momentum=0.9, nesterov=True)
    criterion = nn.CrossEntropyLoss()

    def forward(tokens, tags):
        return criterion(tagger(tokens).reshape(-1, 6), tags.reshape(-1))

    grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
    tagger.set_train()
    for step, (tokens, tags) in enumerate(batches(4, np.random.RandomState(4))):
        loss, grads = grad_fn(tokens, tags)
        optimizer(grads)
        print(step, float(loss))


if __name__ == "__main__":
    main()
