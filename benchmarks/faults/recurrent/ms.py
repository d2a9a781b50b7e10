"""A recurrent tagger: embedding, bidirectional LSTM, a hand-written gated cell, attention pooling (MindSpore)."""

import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
import numpy as np
from mindspore import Tensor
from mindspore.common.initializer import Normal


class GruCell(nn.Cell):
    """A GRU cell as one writes it by hand."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.input_map = nn.Dense(input_size, 3 * hidden_size)
        self.state_map = nn.Dense(hidden_size, 3 * hidden_size)

    def construct(self, x, h):
        xr, xz, xn = ops.chunk(self.input_map(x), 3, axis=-1)
        hr, hz, hn = ops.chunk(self.state_map(h), 3, axis=-1)
        reset = ops.sigmoid(xr + hr)
        update = ops.sigmoid(xz + hz)
        new = ops.tanh(xn + reset * hn)
        return (1 - update) * new + update * h


class Recurrent(nn.Cell):
    def __init__(self, vocab, embed_dim, hidden, classes):
        super().__init__()
        self.embed = nn.Embedding(vocab, embed_dim, embedding_table=Normal(1.0))
        self.rnn = nn.LSTM(embed_dim, hidden, batch_first=True, bidirectional=True)
        self.gru = GruCell(2 * hidden, hidden)
        self.score = nn.Dense(hidden, 1, has_bias=False)
        self.layer_norm = nn.LayerNorm((hidden,), epsilon=1e-5)
        self.out = nn.Dense(hidden, classes)

    def construct(self, tokens):
        x = self.embed(tokens)
        x, _ = self.rnn(x)
        h = ops.zeros((x.shape[0], self.gru.hidden_size), ms.float32)
        outputs = []
        for t in range(x.shape[1]):
            h = self.gru(x[:, t], h)
            outputs.append(h)
        states = ops.stack(outputs, axis=1)
        alpha = ops.softmax(self.score(ops.tanh(states)), axis=1)
        pooled = (alpha * states).sum(axis=1)
        return self.out(self.layer_norm(pooled + h))


ms.set_seed(9)
rng = np.random.RandomState(5)
model = Recurrent(vocab=40, embed_dim=16, hidden=20, classes=6)
class_weight = Tensor([1.0, 2.0, 1.0, 0.5, 1.0, 1.5], ms.float32)
loss_fn = nn.CrossEntropyLoss(weight=class_weight)
opt = nn.SGD(model.trainable_params(), learning_rate=0.1, momentum=0.9, nesterov=False)


def compute_loss(tokens, target):
    logits = model(tokens)
    return loss_fn(logits, target)


value_and_grad = ms.value_and_grad(compute_loss, grad_position=None, weights=opt.parameters)
model.set_train()

for it in range(4):
    tokens = Tensor(rng.randint(0, 40, (8, 7)), ms.int32)
    target = Tensor(rng.randint(0, 6, 8), ms.int32)
    loss, grads = value_and_grad(tokens, target)
    grads = tuple(ops.clamp(grad, -0.05, 0.05) for grad in grads)
    opt(grads)
    print(f"iteration {it}, loss: {loss.asnumpy():.7f}")
