"""Depthwise-separable CNN on generated colour textures: high-level Model API, graph mode."""
import argparse
import time

import numpy as np
import mindspore as ms
import mindspore.dataset as ds
import mindspore.dataset.transforms as transforms
import mindspore.dataset.vision as vision
from mindspore import nn
from mindspore.train import Accuracy, Callback, LossMonitor, Model

MEAN = [0.48, 0.46, 0.41]
STD = [0.25, 0.24, 0.26]


class Textures:
    def __init__(self, n, seed):
        rng = np.random.RandomState(seed)
        yy, xx = np.mgrid[0:20, 0:20]
        patterns = [xx % 4 < 2, yy % 4 < 2, (xx + yy) % 4 < 2,
                    (xx // 2 + yy // 2) % 2 == 0, xx % 8 < 4, yy % 8 < 4]
        self.label = rng.randint(0, 6, n)
        self.image = np.empty((n, 20, 20, 3), dtype=np.uint8)
        for i in range(n):
            fg, bg = rng.randint(0, 256, (2, 3))
            img = np.where(patterns[self.label[i]][..., None], fg, bg)
            self.image[i] = np.clip(img + rng.randint(-20, 21, img.shape), 0, 255)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        return self.image[i], self.label[i]


def create_dataset(n, seed, batch_size, drop_remainder):
    data = ds.GeneratorDataset(Textures(n, seed), ["image", "label"], shuffle=False)
    data = data.map([
        vision.Rescale(1.0 / 255.0, 0.0),
        vision.Normalize(mean=MEAN, std=STD, is_hwc=True),
        vision.HWC2CHW(),
    ], input_columns="image")
    data = data.map(transforms.TypeCast(ms.int32), input_columns="label")
    return data.batch(batch_size, drop_remainder=drop_remainder)


class ConvBnRelu6(nn.SequentialCell):
    def __init__(self, cin, cout, k, stride=1, group=1):
        super().__init__(
            nn.Conv2d(cin, cout, k, stride, pad_mode="pad", padding=k // 2, group=group),
            nn.BatchNorm2d(cout, eps=1e-5, momentum=0.9),
            nn.ReLU6(),
        )


class TinyMobileNet(nn.Cell):
    def __init__(self, num_classes=6):
        super().__init__()
        layers = [ConvBnRelu6(3, 16, 3)]
        for cin, cout, stride in [(16, 24, 2), (24, 32, 1), (32, 48, 2)]:
            layers.append(ConvBnRelu6(cin, cin, 3, stride, group=cin))
            layers.append(ConvBnRelu6(cin, cout, 1))
        self.features = nn.SequentialCell(layers)
        self.classifier = nn.Dense(48, num_classes)

    def construct(self, x):
        x = self.features(x)
        return self.classifier(x.mean((2, 3)))


class StepTimer(Callback):
    """user callback: prints the mean time of a step at the end of every epoch"""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_train_step_begin(self, run_context):
        self.start = time.time()

    def on_train_step_end(self, run_context):
        self.times.append(time.time() - self.start)

    def on_train_epoch_end(self, run_context):
        params = run_context.original_args()
        print("epoch %d: %.1f ms per step" % (params.cur_epoch_num, 1e3 * np.mean(self.times)))
        self.times.clear()


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--batch_size", type=int, default=12)
    ap.add_argument("--epochs", type=int, default=1)
    ap.add_argument("--lr", type=float, default=0.03)
    a = ap.parse_args()

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(99)
    train_set = create_dataset(64, 1, a.batch_size, True)
    test_set = create_dataset(24, 2, a.batch_size, False)
    net = TinyMobileNet()
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    opt = nn.Momentum(net.trainable_params(), learning_rate=a.lr, momentum=0.9)
    model = Model(net, loss_fn=loss, optimizer=opt, metrics={"accuracy": Accuracy()})
    model.train(a.epochs, train_set, callbacks=[LossMonitor(1), StepTimer()], dataset_sink_mode=False)
    print(model.eval(test_set, dataset_sink_mode=False))
