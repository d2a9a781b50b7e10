"""BERT-like masked token model (MindSpore)."""
from types import SimpleNamespace

import numpy as np
import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer

hp = SimpleNamespace(vocab=72, seq=12, hidden=32, heads=4, inner=64, layers=2,
                     mask_id=1, init_range=0.02, batch=8, steps=5, lr=0.05)


class SelfAttention(nn.Cell):
    def __init__(self):
        super().__init__()
        self.query = nn.Dense(hp.hidden, hp.hidden)
        self.key = nn.Dense(hp.hidden, hp.hidden)
        self.value = nn.Dense(hp.hidden, hp.hidden)
        self.dense = nn.Dense(hp.hidden, hp.hidden)

    def split(self, t):
        return t.view(t.shape[0], -1, hp.heads, hp.hidden // hp.heads).permute(0, 2, 1, 3)

    def construct(self, h):
        q, k, v = self.split(self.query(h)), self.split(self.key(h)), self.split(self.value(h))
        scores = ops.matmul(q, k.swapaxes(-1, -2)) / (hp.hidden // hp.heads) ** 0.5
        context = ops.matmul(ops.softmax(scores, -1), v)
        context = context.permute(0, 2, 1, 3).reshape(h.shape)
        return self.dense(context)


class EncoderLayer(nn.Cell):
    def __init__(self):
        super().__init__()
        self.attn_norm = nn.LayerNorm((hp.hidden,))
        self.attention = SelfAttention()
        self.ffn_norm = nn.LayerNorm((hp.hidden,))
        self.intermediate = nn.Dense(hp.hidden, hp.inner)
        self.output = nn.Dense(hp.inner, hp.hidden)

    def construct(self, h):
        h = h + self.attention(self.attn_norm(h))
        ffn = ops.gelu(self.intermediate(self.ffn_norm(h)), approximate="none")
        return h + self.output(ffn)


class MaskedLM(nn.Cell):
    def __init__(self):
        super().__init__()
        self.tok = nn.Embedding(hp.vocab, hp.hidden)
        self.pos = nn.Embedding(hp.seq, hp.hidden)
        self.encoder = nn.CellList([EncoderLayer() for _ in range(hp.layers)])
        self.norm = nn.LayerNorm((hp.hidden,), epsilon=1e-5)
        self.decoder = nn.Dense(hp.hidden, hp.vocab)
        self.init_weights()

    def init_weights(self):
        for _, cell in self.cells_and_names():
            if isinstance(cell, nn.Dense):
                cell.weight.set_data(initializer(Normal(hp.init_range), cell.weight.shape))
                cell.bias.set_data(initializer("zeros", cell.bias.shape))
            elif isinstance(cell, nn.Embedding):
                table = cell.embedding_table
                table.set_data(initializer(Normal(hp.init_range), table.shape))

    def construct(self, ids):
        h = self.tok(ids) + self.pos(ops.arange(ids.shape[1]))
        for layer in self.encoder:
            h = layer(h)
        return self.decoder(self.norm(h))


def mlm_batches():
    rng = np.random.RandomState(512)
    for _ in range(hp.steps):
        start = rng.randint(2, hp.vocab, (hp.batch, 1))
        stride = rng.randint(1, 5, (hp.batch, 1))
        ids = 2 + (start + stride * np.arange(hp.seq)) % (hp.vocab - 2)
        masked = rng.rand(hp.batch, hp.seq) < 0.25
        masked[:, 0] = True
        yield np.where(masked, hp.mask_id, ids).astype(np.int32), np.where(masked, ids, -100).astype(np.int32)


ms.set_seed(2024)
model = MaskedLM()
optimizer = nn.Momentum(model.trainable_params(), learning_rate=hp.lr, momentum=0.9)


def compute_loss(ids, target):
    logits = model(ids)
    return ops.cross_entropy(logits.view(-1, hp.vocab), target.view(-1), ignore_index=-100)


loss_and_grad = ms.value_and_grad(compute_loss, grad_position=None, weights=optimizer.parameters)
model.set_train()
for step, (ids, target) in enumerate(mlm_batches()):
    loss, grads = loss_and_grad(Tensor(ids), Tensor(target))
    optimizer(grads)
    print("step", step, "mlm loss", "%.5f" % float(loss.asnumpy()))
