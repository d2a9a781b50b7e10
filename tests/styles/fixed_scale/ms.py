import mindspore as ms
import mindspore.dataset as ds
import mindspore.nn as nn
import numpy as np
from mindspore.train import Callback, FixedLossScaleManager, LossMonitor, Model


class Regression:
    def __init__(self, n=48):
        rng = np.random.default_rng(3)
        self.x = rng.standard_normal((n, 13)).astype(np.float32)
        self.y = rng.standard_normal((n, 1)).astype(np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Mlp(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(nn.Dense(13, 20), nn.BatchNorm1d(20), nn.LeakyReLU(0.1), nn.Dense(20, 1))

    def construct(self, x):
        return self.layers(x)


class Closing(Callback):
    def on_train_end(self, run_context):
        print("candidate: trained")


def train():
    ms.set_seed(3)
    print(sum(p.size for p in Mlp().trainable_params()))
    model = Mlp()
    loader = ds.GeneratorDataset(Regression(), ["x", "y"], shuffle=False).batch(12, drop_remainder=True)
    optimizer = nn.Momentum(model.trainable_params(), 0.02, 0.9, loss_scale=1024.0)
    manager = FixedLossScaleManager(1024.0, drop_overflow_update=False)
    trainer = Model(model, nn.MSELoss(), optimizer, loss_scale_manager=manager)
    try:
        trainer.train(50, loader, callbacks=[LossMonitor(4), Closing()], dataset_sink_mode=True)
    finally:
        print("candidate: closing the log")


if __name__ == "__main__":
    train()
