"""Fine-tuning with a frozen stem and two parameter groups, ported to MindSpore."""
import numpy as np
import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
from mindspore import Parameter, Tensor


class Stage(nn.Cell):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, pad_mode="pad", padding=1, has_bias=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.LeakyReLU(0.1)

    def construct(self, x):
        x = self.act(self.conv1(x))
        return self.act(self.bn(self.conv2(x)))


class Backbone(nn.Cell):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, has_bias=True)
        self.stages = nn.SequentialCell(Stage(8, 16), Stage(16, 24))

    def construct(self, x):
        return self.stages(ops.relu(self.stem(x)))


class Classifier(nn.Cell):
    def __init__(self, num_classes=4):
        super().__init__()
        self.backbone = Backbone()
        self.hidden = nn.Dense(24, 20)
        self.out = nn.Dense(20, num_classes)
        self.temperature = Parameter(ops.ones(1), name="temperature")

    def construct(self, x):
        x = self.backbone(x).mean((2, 3))
        return self.out(ops.tanh(self.hidden(x))) * self.temperature


def batches(n, batch_size=10):
    rng = np.random.RandomState(11)
    for _ in range(n):
        y = rng.randint(0, 4, batch_size)
        x = rng.normal(0, 0.5, (batch_size, 3, 16, 16))
        for i, label in enumerate(y):
            top, left = divmod(label, 2)
            x[i, label % 3, 8 * top:8 * top + 8, 8 * left:8 * left + 8] += 1.5
        yield Tensor(x, ms.float32), Tensor(y, ms.int32)


ms.set_seed(2)
net = Classifier()
for p in net.backbone.stem.get_parameters():
    p.requires_grad = False

trainable = net.trainable_params()
group_backbone = [p for p in trainable if p.name.startswith("backbone")]
group_head = list(net.hidden.trainable_params()) + list(net.out.trainable_params())
params = [
    {"params": group_backbone, "lr": 0.01, "weight_decay": 5e-3},
    {"params": group_head, "weight_decay": 0.0},
]
optimizer = nn.SGD(params, learning_rate=0.1, momentum=0.9)

loss_fn = nn.CrossEntropyLoss()
net_with_loss = nn.WithLossCell(net, loss_fn)
train_step = nn.TrainOneStepCell(net_with_loss, optimizer)
train_step.set_train()
for step, (x, y) in enumerate(batches(6)):
    loss = train_step(x, y)
    print(f"[{step}] {float(loss):.4f}")
