"""Run with `python -m package.ms`."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn

from .nets.mindspore_net import build
from .settings import BATCH, RATE, SEED


def main():
    model = build(4)
    rng = np.random.default_rng(SEED)
    x = rng.random((40, 3, 8, 8), dtype=np.float32)
    y = rng.integers(0, 4, 40).astype(np.int32)
    loader = ds.NumpySlicesDataset((x, y), ["image", "label"], shuffle=False).batch(BATCH)
    optimizer = nn.Momentum(model.trainable_params(), RATE, 0.9)
    trainer = nn.TrainOneStepCell(nn.WithLossCell(model, nn.CrossEntropyLoss()), optimizer)
    trainer.set_train()
    for images, labels in loader.create_tuple_iterator():
        trainer(images, labels)


if __name__ == "__main__":
    main()
