import argparse
import sys

import numpy as np
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inp = nn.Linear(5, width)
        self.shared = nn.Linear(width, width)
        self.act = nn.SiLU()
        self.scale = nn.Parameter(torch.full((width,), 0.5))
        self.register_buffer("offset", torch.linspace(-1, 1, width))
        self.out = nn.Linear(width, 2, bias=False)

    def features(self, x):
        x = self.act(self.inp(x))
        for _ in range(3):
            x = x + self.scale * self.act(self.shared.forward(x))
        return x + self.offset

    def forward(self, x):
        return self.out(self.features(x))


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.05)
    return parser.parse_args()


def main(args):
    torch.manual_seed(0)
    probe = Net(args.width)
    print(sum(p.numel() for p in probe.parameters()), file=sys.stderr)
    with torch.no_grad():
        probe(torch.zeros(1, 5))
    net = Net(args.width)
    opt = torch.optim.RMSprop(net.parameters(), lr=args.lr)
    rs = np.random.RandomState(0)
    xs, ys = rs.randn(4, 6, 5).astype("f"), rs.randn(4, 6, 2).astype("f")
    for x, y in zip(torch.tensor(xs), torch.tensor(ys)):
        def closure():
            opt.zero_grad()
            loss = nn.functional.huber_loss(net(x), y)
            loss.backward()
            return loss

        opt.step(closure)


if __name__ == "__main__":
    main(parse())
