import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops
from mindspore.communication import get_group_size, get_rank, init


class ConvNet(nn.Cell):
    def __init__(self, classes=5):
        super().__init__()
        self.features = nn.SequentialCell(
            nn.Conv2d(3, 8, 3, stride=2, pad_mode="pad", padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, pad_mode="pad", padding=1, has_bias=True),
            nn.ReLU(),
        )
        self.pool = ops.ReduceMean()
        self.classifier = nn.Dense(12, classes)

    def construct(self, x):
        return self.classifier(self.pool(self.features(x), (2, 3)))


def setup():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        init()
        rank, world = get_rank(), get_group_size()
        ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=world)
    except Exception:
        rank, world = 0, 1
    return rank, world


def main():
    rank, world = setup()
    ms.set_seed(12)
    rng = np.random.default_rng(12)
    images = rng.standard_normal((32, 3, 12, 12), dtype=np.float32)
    labels = rng.integers(0, 5, 32).astype(np.int32)
    data = ds.NumpySlicesDataset((images, labels), ["image", "label"], shuffle=False, num_shards=world, shard_id=rank)
    loader = data.batch(8)
    model = ConvNet()
    criterion = nn.CrossEntropyLoss()
    groups = [{"params": model.trainable_params(), "weight_decay": 1e-4}]
    optimizer = nn.SGD(groups, learning_rate=0.05 * world, momentum=0.9)
    reducer = nn.DistributedGradReducer(optimizer.parameters) if world > 1 else None
    grad_fn = ms.value_and_grad(lambda x, y: criterion(model(x), y), None, optimizer.parameters)
    model.set_train()
    for epoch in range(2):
        for x, y in loader.create_tuple_iterator():
            loss, grads = grad_fn(x, y)
            if reducer is not None:
                grads = reducer(grads)
            optimizer(grads)
            if rank == 0:
                print(epoch, loss)


if __name__ == "__main__":
    main()
