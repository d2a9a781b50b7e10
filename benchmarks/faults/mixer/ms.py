"""An MLP-mixer with layer scale, trained with parameter groups through Model.train, ported to MindSpore."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Parameter, nn, ops


class Shapes:
    def __init__(self, count=24):
        rng = np.random.RandomState(29)
        self.images = rng.randn(count, 3, 16, 16).astype(np.float32)
        self.targets = rng.randn(count, 4).astype(np.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]


class Mlp(nn.Cell):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Dense(width, hidden)
        self.act = nn.GELU(approximate=False)
        self.fc2 = nn.Dense(hidden, width)

    def construct(self, x):
        return self.fc2(self.act(self.fc1(x)))


class MixerLayer(nn.Cell):
    def __init__(self, tokens, channels):
        super().__init__()
        self.token_norm = nn.LayerNorm((channels,), epsilon=1e-6)
        self.token_mlp = Mlp(tokens, 2 * tokens)
        self.channel_norm = nn.LayerNorm((channels,), epsilon=1e-6)
        self.channel_mlp = Mlp(channels, 3 * channels)
        self.token_scale = Parameter(np.full(channels, 0.1, np.float32))
        self.channel_scale = Parameter(np.full(channels, 0.1, np.float32))

    def construct(self, x):
        y = self.token_norm(x).transpose(0, 2, 1)
        y = ops.transpose(self.token_mlp(y), (0, 2, 1))
        x = x + self.token_scale * y
        y = self.channel_mlp(self.channel_norm(x))
        return x + self.channel_scale * y


class Mixer(nn.Cell):
    def __init__(self, patch=4, channels=24, depth=2, outputs=4):
        super().__init__()
        tokens = (16 // patch) ** 2
        self.embed = nn.Conv2d(3, channels, patch, stride=patch, pad_mode="valid", has_bias=True)
        self.layers = nn.SequentialCell([MixerLayer(tokens, channels) for _ in range(depth)])
        self.norm = nn.LayerNorm((channels,), epsilon=1e-6)
        self.head = nn.Dense(channels, outputs)

    def construct(self, x):
        x = self.embed(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).transpose(0, 2, 1)
        x = self.layers(x)
        x = self.norm(x)
        x = x.mean(axis=1)
        return self.head(x)


class PrintLoss(ms.Callback):
    def on_train_step_end(self, run_context):
        params = run_context.original_args()
        loss = float(params.net_outputs.asnumpy())
        print(f"epoch: {params.cur_epoch_num} step: {params.cur_step_num}, loss is {loss:.7f}")


if __name__ == "__main__":
    ms.set_seed(21)
    train_loader = ds.GeneratorDataset(Shapes(), ["image", "target"], shuffle=False).batch(6)
    net = Mixer()
    criterion = nn.SmoothL1Loss(beta=0.5, reduction="mean")
    decay = [p for p in net.trainable_params() if p.ndim > 1]
    no_decay = [p for p in net.trainable_params() if p.ndim == 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0, "lr": 0.2}]
    optimizer = nn.SGD(groups, learning_rate=0.1, momentum=0.9)
    model = ms.Model(net, loss_fn=criterion, optimizer=optimizer)
    model.train(1, train_loader, callbacks=[PrintLoss()], dataset_sink_mode=False)
