import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.backbone = nn.SequentialCell(nn.Conv2d(1, 4, 3, pad_mode="valid", has_bias=True), nn.BatchNorm2d(4), nn.ReLU())
        self.neck = nn.Dense(4 * 36, 12)
        self.head = nn.Dense(12, 5)

    def construct(self, x):
        x = self.backbone(x)
        x = ops.relu(self.neck(ops.flatten(x)))
        return self.head(x)


class Trainer:
    def __init__(self, lr):
        ms.set_seed(7)
        self.net = Net()
        for p in self.net.backbone.get_parameters():
            p.requires_grad = False
        groups = [
            {"params": self.net.neck.trainable_params(), "lr": lr},
            {"params": self.net.head.trainable_params(), "lr": 10 * lr},
        ]
        self.opt = nn.Momentum(groups, learning_rate=lr, momentum=0.9)
        self.criterion = nn.CrossEntropyLoss()
        self.grad_fn = ms.value_and_grad(self.forward, None, self.opt.parameters)

    def forward(self, x, y):
        return self.criterion(self.net(x), y)

    def fit(self, loader):
        self.net.set_train()
        for x, y in loader.create_tuple_iterator():
            loss, grads = self.grad_fn(x, y)
            self.opt(grads)
            print(float(loss.asnumpy()))


if __name__ == "__main__":
    rs = np.random.RandomState(5)
    data = ds.NumpySlicesDataset((rs.rand(24, 1, 8, 8).astype("f"), rs.randint(0, 5, 24).astype("i")), shuffle=False)
    Trainer(0.01).fit(data.batch(6))
