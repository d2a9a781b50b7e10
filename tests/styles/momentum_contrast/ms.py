import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class MoCo(nn.Cell):
    def __init__(self, base, dim=16, K=32, m=0.9, T=0.2):
        super().__init__()
        self.K, self.m, self.T = K, m, T
        self.encoder_q = base(dim)
        self.encoder_k = base(dim)
        for q, k in zip(self.encoder_q.get_parameters(), self.encoder_k.get_parameters()):
            k.set_data(q)
            k.requires_grad = False
        queue = np.random.RandomState(9).randn(dim, K).astype(np.float32)
        queue /= np.linalg.norm(queue, axis=0)
        self.queue = Parameter(Tensor(queue), name="queue", requires_grad=False)
        self.ptr = 0

    def momentum_update(self):
        for q, k in zip(self.encoder_q.get_parameters(), self.encoder_k.get_parameters()):
            ops.assign(k, k * self.m + q * (1.0 - self.m))

    def enqueue(self, keys):
        n = keys.shape[0]
        self.queue[:, self.ptr : self.ptr + n] = keys.T
        self.ptr = (self.ptr + n) % self.K

    def construct(self, im_q, im_k):
        q = normalize(self.encoder_q(im_q))
        self.momentum_update()
        k = ops.stop_gradient(normalize(self.encoder_k(im_k)))
        l_pos = (q * k).sum(1, keepdims=True)
        l_neg = ops.matmul(q, ops.stop_gradient(self.queue * 1.0))
        logits = ops.cat([l_pos, l_neg], axis=1) / self.T
        labels = ops.zeros(logits.shape[0], ms.int32)
        self.enqueue(k)
        return logits, labels


def normalize(x):
    return x / x.norm(dim=1, keepdim=True)


def mlp(dim):
    return nn.SequentialCell(nn.Dense(20, 32), nn.LayerNorm((32,), epsilon=1e-5), nn.ReLU(), nn.Dense(32, dim))


ms.set_seed(0)
model = MoCo(mlp)
criterion = nn.CrossEntropyLoss()
optimizer = nn.SGD(model.trainable_params(), 0.1, momentum=0.9)


def forward(a, b):
    output, target = model(a, b)
    return criterion(output, target)


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
rng = np.random.RandomState(2)
for _ in range(5):
    x = rng.randn(8, 20).astype(np.float32)
    a, b = (Tensor(x + 0.2 * rng.randn(8, 20).astype(np.float32)) for _ in range(2))
    loss, grads = grad_fn(a, b)
    optimizer(grads)
