import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops import composite as C
from mindspore.ops import functional as F

ms.set_context(mode=ms.GRAPH_MODE, device_target="Ascend")
ms.set_seed(3)
clip = C.MultitypeFuncGraph("clip")


@clip.register("Number", "Tensor")
def _clip(limit, grad):
    return ops.clip_by_value(grad, F.cast(F.tuple_to_array((-limit,)), grad.dtype), F.cast(F.tuple_to_array((limit,)), grad.dtype))


class ClippedStep(nn.TrainOneStepCell):
    def __init__(self, network, optimizer, limit):
        super().__init__(network, optimizer)
        self.hyper_map = C.HyperMap()
        self.limit = limit

    def construct(self, x, y):
        loss = self.network(x, y)
        grads = self.grad(self.network, self.weights)(x, y, self.sens)
        grads = self.hyper_map(F.partial(clip, self.limit), grads)
        return F.depend(loss, self.optimizer(grads))


class Batches:
    def __init__(self):
        rng = np.random.RandomState(1)
        self.a, self.b = rng.randn(32, 10).astype(np.float32), rng.randn(32, 1).astype(np.float32)

    def __getitem__(self, i):
        return self.a[i], self.b[i]

    def __len__(self):
        return 32


model = nn.SequentialCell(nn.Dense(10, 20), nn.GELU(approximate=False), nn.Dense(20, 1))
optimizer = nn.Momentum(model.trainable_params(), 0.02, 0.9)
step = ClippedStep(nn.WithLossCell(model, nn.SmoothL1Loss(reduction="mean")), optimizer, 0.05)
step.set_train()
data = ms.dataset.GeneratorDataset(Batches(), ["x", "y"], shuffle=False).batch(8)
for item in data.create_dict_iterator():
    print(step(item["x"], item["y"]))
