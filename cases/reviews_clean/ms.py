"""Star ratings of short reviews, MindSpore version of the TextCNN."""
import argparse

import numpy as np
import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import Normal

VOCAB = 120
SEQ_LEN = 20


def make_reviews(count, seed):
    rng = np.random.RandomState(seed)
    stars = rng.randint(0, 5, count)
    words = rng.randint(0, 20, (count, SEQ_LEN)) + 20 * stars[:, None]
    noise = rng.rand(count, SEQ_LEN) < 0.33
    words[noise] = rng.randint(0, VOCAB, noise.sum())
    return words.astype(np.int32), stars.astype(np.int32)


class TextCNN(nn.Cell):
    def __init__(self, embed_dim=24, num_filters=16, num_class=5):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, embed_dim, embedding_table=Normal(0.1))
        self.embed_dropout = nn.Dropout(p=0.1)
        self.conv_3 = nn.Conv1d(embed_dim, num_filters, 3, has_bias=True)
        self.conv_5 = nn.Conv1d(embed_dim, num_filters, 5, has_bias=True)
        self.layer_norm = nn.LayerNorm((2 * num_filters,), epsilon=1e-5)
        self.dropout = nn.Dropout(p=0.3)
        self.classifier = nn.Dense(2 * num_filters, num_class)
        self.relu = nn.ReLU()

    def construct(self, ids):
        x = self.embed_dropout(self.embedding(ids)).swapaxes(1, 2)
        x = ops.cat((self.relu(self.conv_3(x)), self.relu(self.conv_5(x))), axis=1)
        x = self.layer_norm(ops.amax(x, axis=2))
        return self.classifier(self.dropout(x))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()

    ms.set_seed(7)
    words, stars = make_reviews(args.batch_size * args.steps, seed=3)
    net = TextCNN()
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    lr = [args.lr * min(1.0, (i + 1) / 4) for i in range(args.steps)]
    optimizer = nn.Momentum(net.trainable_params(), learning_rate=lr, momentum=0.9)

    def forward_fn(ids, label):
        logits = net(ids)
        return loss_fn(logits, label)

    grad_fn = ms.value_and_grad(forward_fn, None, optimizer.parameters)
    net.set_train()
    for i in range(args.steps):
        part = slice(i * args.batch_size, (i + 1) * args.batch_size)
        loss, grads = grad_fn(ms.Tensor(words[part]), ms.Tensor(stars[part]))
        optimizer(grads)
        print("step %d: loss %.4f" % (i, float(loss)))


if __name__ == "__main__":
    main()
