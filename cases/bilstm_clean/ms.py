"""Language identification of character strings with a BiLSTM (MindSpore)."""
import numpy as np
import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import Normal
from mindspore.dataset import GeneratorDataset

CHARS = "abcdefghijklmnopqrstuvwxyz "
EMB, HID, LANGS, LENGTH = 16, 24, 5, 20


def char_strings(size=64, seed=77):
    """generator over (string, language)"""
    rng = np.random.default_rng(seed)
    unigram = rng.dirichlet(np.full(len(CHARS), 0.5), size=LANGS)
    y = rng.integers(0, LANGS, size)
    x = [rng.choice(len(CHARS), LENGTH, p=unigram[k]) for k in y]
    for chars, lang in zip(x, y):
        yield chars.astype(np.int32), np.array(lang, dtype=np.int32)


class BiLSTM(nn.Cell):
    def __init__(self):
        super().__init__()
        # torch initialises its embedding with N(0, 1)
        self.embed = nn.Embedding(len(CHARS), EMB, embedding_table=Normal(sigma=1.0, mean=0.0))
        self.lstm = nn.LSTM(EMB, HID, num_layers=1, batch_first=True, bidirectional=True)
        self.hidden = nn.Dense(2 * HID, HID)
        self.out = nn.Dense(HID, LANGS)

    def construct(self, chars):
        states, _ = self.lstm(self.embed(chars))
        pooled = states.mean(axis=1)
        return self.out(ops.tanh(self.hidden(pooled)))


class Trainer:
    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = nn.CrossEntropyLoss()
        self.grad_fn = ms.value_and_grad(self.forward, None, optimizer.parameters, has_aux=True)

    def forward(self, chars, lang):
        pred = self.model(chars)
        return self.loss_fn(pred, lang), pred

    def step(self, chars, lang):
        (loss, pred), grads = self.grad_fn(chars, lang)
        self.optimizer(grads)
        return loss, pred


def train(epochs=1):
    ms.set_seed(31)
    dataset = GeneratorDataset(char_strings, ["chars", "lang"]).batch(12, drop_remainder=False)
    model = BiLSTM()
    optimizer = nn.SGD(model.trainable_params(), learning_rate=0.2, momentum=0.8)
    trainer = Trainer(model, optimizer)
    model.set_train()
    for epoch in range(epochs):
        for n, row in enumerate(dataset.create_dict_iterator()):
            loss, pred = trainer.step(row["chars"], row["lang"])
            acc = (pred.argmax(1) == row["lang"]).astype(ms.float32).mean()
            print(f"{epoch}/{n}  loss {float(loss):.4f}  acc {float(acc):.2f}")


if __name__ == "__main__":
    train()
