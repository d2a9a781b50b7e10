"""A ResNet-18-size network or a 6-layer transformer, trained in PyTorch; prints the CPU seconds of each step."""

import resource
import sys
import time

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, given, made, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.relu = nn.ReLU()
        same = stride == 1 and given == made
        self.down = None if same else nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, x):
        short = x if self.down is None else self.down(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + short)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        layers, given = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
        for made, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [Block(given, made, stride), Block(made, made, 1)]
            given = made
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(512, 10)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down, self.act = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.GELU()

    def forward(self, x):
        b, n, w = x.shape
        h = self.ln1(x)
        q, k, v = (f(h).view(b, n, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = torch.softmax(q @ k.transpose(2, 3) / (w // self.heads) ** 0.5, -1) @ v
        x = x + self.o(a.transpose(1, 2).reshape(b, n, w))
        return x + self.down(self.act(self.up(self.ln2(x))))


class Transformer(nn.Module):
    def __init__(self, words=1000, width=256):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Layer(width, 8) for _ in range(6))
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln(x))


name, steps = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
if name == "resnet":
    model, x, y = ResNet(), torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,))
else:
    model, x, y = Transformer(), torch.randint(0, 1000, (8, 64)), torch.randint(0, 1000, (8 * 64,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for _ in range(steps):
    start = time.process_time()
    optimizer.zero_grad()
    out = model(x)
    loss = nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]), y)
    loss.backward()
    optimizer.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("step", time.process_time() - start, peak, flush=True)
