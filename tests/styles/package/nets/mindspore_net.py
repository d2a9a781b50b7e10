import mindspore as ms
from mindspore import nn, ops

from ..settings import SEED


class Separable(nn.Cell):
    def __init__(self, cin, cout):
        super().__init__()
        self.depth = nn.Conv2d(cin, cin, 3, pad_mode="pad", padding=1, group=cin, has_bias=True)
        self.point = nn.Conv2d(cin, cout, 1, has_bias=True)

    def construct(self, x):
        return ops.relu(self.point(self.depth(x)))


def build(classes):
    ms.set_seed(SEED)
    return nn.SequentialCell(
        Separable(3, 8), nn.AvgPool2d(2, 2), Separable(8, 8), nn.Flatten(), nn.Dense(128, classes)
    )
