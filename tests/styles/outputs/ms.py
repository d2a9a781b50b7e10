import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal


class Tagger(nn.Cell):
    def __init__(self, vocab=30, dim=12, tags=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, embedding_table=Normal(1.0), padding_idx=0)
        self.rnn = nn.GRU(dim, dim, batch_first=True, num_layers=2)
        self.cls = nn.Dense(dim, tags)

    def construct(self, ids, labels=None):
        h, last = self.rnn(self.embed(ids))
        logits = self.cls(h)
        if labels is None:
            return {"logits": logits, "hidden": (h, (last, None))}
        loss = ops.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1), ignore_index=-100)
        return {"loss": loss, "logits": logits, "hidden": (h, (last, None))}


def main():
    ms.set_seed(0)
    model = Tagger()
    opt = nn.AdaMax(model.trainable_params(), learning_rate=2e-3)

    def forward(ids, labels):
        out = model(ids, labels)
        return out["loss"], out["logits"]

    grad_fn = ms.value_and_grad(forward, None, opt.parameters, has_aux=True)
    model.set_train()
    rs = np.random.RandomState(1)
    for _ in range(3):
        ids = ms.Tensor(rs.randint(1, 30, (4, 7)), ms.int32)
        labels = rs.randint(0, 4, (4, 7)).astype(np.int32)
        labels[:, -1] = -100
        (loss, _), grads = grad_fn(ids, ms.Tensor(labels))
        opt(grads)


main()
