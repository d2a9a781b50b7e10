"""A neural probabilistic language model with tied embeddings, on MindSpore."""
import numpy as np
import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal
from mindspore.experimental import optim


class WindowLM(nn.Cell):
    def __init__(self, vocab, dim, window, hidden):
        super().__init__()
        self.wte = nn.Embedding(vocab, dim, embedding_table=Normal(0.05))
        self.hidden = nn.Dense(window * dim, hidden)
        self.norm = nn.LayerNorm([hidden], epsilon=1e-5)
        self.project = nn.Dense(hidden, dim)
        self.act = nn.GELU(approximate=False)
        self.head = nn.Dense(dim, vocab, has_bias=False)
        self.head.weight = self.wte.embedding_table

    def construct(self, context):
        x = self.wte(context)
        x = x.reshape(x.shape[0], -1)
        x = self.act(self.norm(self.hidden(x)))
        return self.head(self.project(x))


def windows(text, window, batch, steps, seed):
    rng = np.random.RandomState(seed)
    for _ in range(steps):
        start = rng.randint(0, len(text) - window, batch)
        yield (np.stack([text[s:s + window] for s in start]), np.array([text[s + window] for s in start]))


def make_text(length, vocab, seed):
    rng = np.random.RandomState(seed)
    follow = rng.randint(0, vocab, (vocab, 2))
    text = [0]
    for coin in rng.randint(0, 2, length):
        text.append(int(follow[text[-1], coin]))
    return np.array(text)


def train(vocab=60, dim=16, window=4, hidden=32, batch=12, steps=5):
    ms.set_seed(123)
    text = make_text(2000, vocab, seed=5)
    model = WindowLM(vocab, dim, window, hidden)
    opt = optim.AdamW(model.trainable_params(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05)
    loss_fn = nn.CrossEntropyLoss()

    def forward(context, target):
        return loss_fn(model(context), target)

    grad_fn = ms.value_and_grad(forward, None, model.trainable_params())
    model.set_train()
    for step, (context, target) in enumerate(windows(text, window, batch, steps, seed=6)):
        loss, grads = grad_fn(Tensor(context, ms.int32), Tensor(target, ms.int32))
        opt(grads)
        print(f"step {step} loss {float(loss):.4f} perplexity {float(ops.exp(loss)):.2f}")


if __name__ == "__main__":
    train()
