import numpy as np
import torch
from torch import nn


class Recorder:
    """Keeps what layers give, and the norms of their gradients."""

    def __init__(self, model):
        self.outputs, self.norms = {}, []
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                module.register_forward_hook(self.keep(name))
                module.register_full_backward_hook(self.measure)
        model.register_forward_pre_hook(self.centre)

    def keep(self, name):
        def hook(module, inputs, output):
            self.outputs[name] = output.detach()

        return hook

    def measure(self, module, grad_input, grad_output):
        self.norms.append(grad_output[0].norm().item())

    def centre(self, module, inputs):
        return (inputs[0] - 0.5,)


torch.manual_seed(6)
model = nn.Sequential(nn.Linear(9, 14), nn.Hardswish(), nn.Linear(14, 14), nn.Mish(), nn.Linear(14, 4))
recorder = Recorder(model)
model[2].weight.register_hook(lambda grad: grad * 0.5)
model[3].register_forward_hook(lambda module, inputs, output: output + 0.1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
rng = np.random.RandomState(6)
for _ in range(3):
    x = torch.from_numpy(rng.rand(8, 9).astype(np.float32))
    y = torch.from_numpy(rng.randint(0, 4, 8))
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
print(recorder.norms, {name: value.mean().item() for name, value in recorder.outputs.items()})
