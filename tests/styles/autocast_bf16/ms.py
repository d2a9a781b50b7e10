import mindspore as ms
import numpy as np
from mindspore import amp, nn, ops
from mindspore.common.initializer import Normal


class Classifier(nn.Cell):
    def __init__(self, vocab=50, dim=16, classes=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, embedding_table=Normal(1.0))
        self.conv = nn.Conv1d(dim, 24, 3, pad_mode="pad", padding=1, has_bias=True)
        self.fc1 = nn.Dense(24, 16)
        self.fc2 = nn.Dense(16, classes)

    def construct(self, ids):
        x = self.embed(ids).swapaxes(1, 2)
        x = ops.relu(self.conv(x)).max(axis=2)
        return self.fc2(ops.relu(self.fc1(x)))


ms.set_seed(14)
model = Classifier()
model = amp.auto_mixed_precision(model, amp_level="O3")
optimizer = nn.Adam(model.trainable_params(), learning_rate=1e-3)


def forward_fn(ids, labels):
    logits = model(ids)
    return ops.cross_entropy(logits.astype(ms.float32), labels)


grad_fn = ms.value_and_grad(forward_fn, None, optimizer.parameters)
rng = np.random.RandomState(14)
ids = ms.Tensor(rng.randint(0, 50, (32, 10)), ms.int32)
labels = ms.Tensor(rng.randint(0, 4, 32), ms.int32)
model.set_train()
for step in range(4):
    take = slice(step * 8, step * 8 + 8)
    loss, grads = grad_fn(ids[take], labels[take])
    optimizer(grads)
