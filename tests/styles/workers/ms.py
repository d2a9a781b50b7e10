import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn, ops
from mindspore.experimental import optim


class Pictures:
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        rs = np.random.RandomState(i)
        return rs.randint(0, 255, (10, 10, 3)).astype(np.uint8), np.int32(i % 4)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, pad_mode="pad", padding=1, has_bias=True)
        self.fc = nn.Dense(8, 4)

    def construct(self, pixels):
        x = ops.relu(self.conv(pixels))
        return self.fc(ops.mean(x, (2, 3)))


def main():
    ms.set_seed(1)
    loader = ds.GeneratorDataset(Pictures(40), ["pixels", "labels"], shuffle=False, num_parallel_workers=2)
    loader = loader.map(lambda p: (p.transpose(2, 0, 1) / 255.0).astype(np.float32), input_columns="pixels")
    loader = loader.batch(8)
    net = Net()
    net.set_train()
    optimizer = optim.AdamW(net.trainable_params(), lr=3e-3)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)

    def forward(pixels, labels):
        return ops.cross_entropy(net(pixels), labels)

    grad_fn = ms.value_and_grad(forward, None, optimizer.parameters)
    for epoch in range(100000):
        for pixels, labels in loader:
            loss, grads = grad_fn(pixels, labels)
            grads = ops.clip_by_global_norm(grads, 0.5)
            optimizer(grads)
            scheduler.step()


if __name__ == "__main__":
    main()
