"""Texture patches: a small convolutional classifier with batch normalization and dropout (MindSpore)."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class Norm(nn.Cell):
    """Batch normalization by hand, with running statistics as PyTorch keeps them."""

    def __init__(self, width, weight=0.1):
        super().__init__()
        self.weight = weight
        self.gamma = Parameter(ops.ones(width), name="gamma")
        self.beta = Parameter(ops.zeros(width), name="beta")
        self.mean = Parameter(ops.zeros(width), name="mean", requires_grad=False)
        self.variance = Parameter(ops.ones(width), name="variance", requires_grad=False)

    def construct(self, x):
        mean, variance = self.mean, self.variance
        if self.training:
            mean = x.mean((0, 2, 3))
            variance = ((x - mean.reshape(1, -1, 1, 1)) ** 2).mean((0, 2, 3))
            count = x.size // x.shape[1]
            unbiased = variance * (count / (count - 1))
            ops.assign(self.mean, (1 - self.weight) * self.mean + self.weight * ops.stop_gradient(mean))
            ops.assign(self.variance, (1 - self.weight) * self.variance + self.weight * ops.stop_gradient(unbiased))
        scaled = (x - mean.reshape(1, -1, 1, 1)) / ops.sqrt(variance.reshape(1, -1, 1, 1) + 1e-5)
        return scaled * self.gamma.reshape(1, -1, 1, 1) + self.beta.reshape(1, -1, 1, 1)


class Patches(nn.Cell):
    def __init__(self, width=10, classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(2, width, 3, pad_mode="pad", padding=1)
        self.norm1 = Norm(width, 0.2)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, pad_mode="pad", padding=1)
        self.norm2 = nn.BatchNorm2d(width, momentum=0.9, use_batch_statistics=True)
        self.head = nn.Dense(width, classes)

    def construct(self, x):
        x = ops.relu(self.norm1(self.conv1(x)))
        x = ops.relu(self.norm2(self.conv2(x)))
        x = ops.dropout(x.mean((2, 3)), p=0.3, training=True)
        return self.head(x)


ms.set_seed(5)
rng = np.random.RandomState(5)
patches = (rng.randn(48, 2, 6, 6) * 1.5 + 0.5).astype(np.float32)
labels = rng.randint(0, 4, 48).astype(np.int32)
model = Patches()
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.1, momentum=0.9)
grad = ms.value_and_grad(lambda x, y: ops.cross_entropy(model(x), y), None, optimizer.parameters)
model.set_train()
for start in range(0, 48, 12):
    loss, gradients = grad(Tensor(patches[start : start + 12]), Tensor(labels[start : start + 12]))
    optimizer(gradients)
    print(f"loss {float(loss):.4f}")
