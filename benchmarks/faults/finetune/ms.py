"""A fine-tuned encoder block with AdamW, a smaller learning rate for the body and a cosine schedule, in MindSpore."""

import argparse

import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
import numpy as np
from mindspore import Tensor
from mindspore.common.initializer import Normal
from mindspore.experimental import optim
from mindspore.experimental.optim.lr_scheduler import LambdaLR


class Body(nn.Cell):
    def __init__(self, vocab, width):
        super().__init__()
        self.table = nn.Embedding(vocab, width, embedding_table=Normal(1.0))
        self.up = nn.Dense(width, 2 * width)
        self.down = nn.Dense(2 * width, width)
        self.norm = nn.LayerNorm((width,), epsilon=1e-5)

    def construct(self, tokens):
        x = self.table(tokens)
        x = self.norm(x + self.down(ops.silu(self.up(x))))
        return x.mean(1)


class Model(nn.Cell):
    def __init__(self, vocab=30, width=16, classes=4):
        super().__init__()
        self.body = Body(vocab, width)
        self.head = nn.Dense(width, classes)

    def construct(self, tokens):
        return self.head(self.body(tokens))


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--weight_decay", type=float, default=0.05)
args = parser.parse_args()
ms.set_seed(3)
rng = np.random.RandomState(8)
model = Model()
body, head = model.body.trainable_params(), model.head.trainable_params()
params = [{"params": body, "lr": args.lr / 10}, {"params": head, "lr": args.lr}]
optimizer = optim.AdamW(params, lr=args.lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=args.weight_decay)
schedule = LambdaLR(optimizer, lambda step: 0.5 * (1 + np.cos(np.pi * step / 8)))
loss_fn = nn.CrossEntropyLoss()
grad_fn = ms.value_and_grad(lambda tokens, labels: loss_fn(model(tokens), labels), None, optimizer.parameters)
model.set_train()
for iteration in range(3):
    tokens = Tensor(rng.randint(0, 30, (8, 6)), ms.int32)
    labels = Tensor(rng.randint(0, 4, 8), ms.int32)
    loss, grads = grad_fn(tokens, labels)
    optimizer(grads)
    schedule.step()
    print(f"iteration {iteration}, loss: {float(loss):.7f}")
