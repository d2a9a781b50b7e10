import os
import random

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        rs = np.random.RandomState(i)
        picture = rs.randint(0, 255, (10, 10, 3)).astype(np.uint8)
        return torch.from_numpy(picture.transpose(2, 0, 1)).float() / 255.0, i % 4


def collate(items):
    x = torch.stack([a for a, _ in items])
    return {"pixels": x, "labels": torch.tensor([b for _, b in items])}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, pixels):
        x = nn.functional.relu(self.conv(pixels), inplace=True)
        return self.fc(x.mean(dim=(2, 3)))


def main():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    os.makedirs(os.path.expanduser("~/.cache"), exist_ok=True)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group("gloo")
    loader = DataLoader(Pictures(40), batch_size=8, num_workers=2, collate_fn=collate)
    net = Net()
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    try:
        for epoch in range(100000):
            for batch in loader:
                loss = nn.functional.cross_entropy(net(batch["pixels"]), batch["labels"])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
                optimizer.step()
                scheduler.step()
    finally:
        print("cleaned up")


if __name__ == "__main__":
    main()
