import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops

T = 4.0
ALPHA = 0.7


class Teacher(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, pad_mode="pad", padding=1, has_bias=True)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, pad_mode="pad", padding=1, has_bias=True)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Dense(16, 10)
        self.pool = nn.MaxPool2d(2, 2)

    def construct(self, x):
        x = self.pool(ops.relu(self.bn1(self.conv1(x))))
        x = ops.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


class Student(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, pad_mode="pad", padding=1, has_bias=True)
        self.fc = nn.Dense(6 * 16, 10)
        self.pool = nn.MaxPool2d(2, 2)

    def construct(self, x):
        x = self.pool(ops.relu(self.conv(x)))
        return self.fc(x.flatten(start_dim=1))


ms.set_seed(5)
rng = np.random.RandomState(5)
images = rng.rand(64, 1, 8, 8).astype(np.float32)
labels = rng.randint(0, 10, 64).astype(np.int32)
loader = ds.NumpySlicesDataset((images, labels), ["image", "label"], shuffle=True).batch(16)

teacher = Teacher()
teacher.set_train(False)
for p in teacher.get_parameters():
    p.requires_grad = False
student = Student()
optimizer = nn.Momentum(student.trainable_params(), learning_rate=0.05, momentum=0.9)
student.set_train()


def forward(x, y, soft):
    logits = student(x)
    hard = ops.cross_entropy(logits, y)
    distill = ops.kl_div(ops.log_softmax(logits / T, axis=1), soft, reduction="batchmean") * T * T
    return ALPHA * distill + (1 - ALPHA) * hard


grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
for epoch in range(2):
    for x, y in loader.create_tuple_iterator():
        soft = ops.softmax(teacher(x), axis=1)
        loss, grads = grad_fn(x, y, soft)
        optimizer(grads)
