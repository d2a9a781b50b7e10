import mindspore as ms
import numpy as np
from mindspore import nn, ops


class Recorder:
    """Keeps what layers give, and the norms of their gradients."""

    def __init__(self, model):
        self.outputs, self.norms = {}, []
        for name, cell in model.cells_and_names():
            if isinstance(cell, nn.Dense):
                cell.register_forward_hook(self.keep(name))
                cell.register_backward_hook(self.measure)
        model.register_forward_pre_hook(self.centre)

    def keep(self, name):
        def hook(cell, inputs, output):
            self.outputs[name] = ops.stop_gradient(output)

        return hook

    def measure(self, cell, grad_input, grad_output):
        self.norms.append(float(ops.norm(grad_output[0])))

    def centre(self, cell, inputs):
        return (inputs[0] - 0.5,)


ms.set_seed(6)
model = nn.SequentialCell(nn.Dense(9, 14), nn.HSwish(), nn.Dense(14, 14), nn.Mish(), nn.Dense(14, 4))
recorder = Recorder(model)
model[2].weight.register_hook(lambda grad: grad * 0.5)
model[3].register_forward_hook(lambda cell, inputs, output: output + 0.1)
optimizer = nn.SGD(model.trainable_params(), learning_rate=0.1)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
grad_fn = ms.value_and_grad(lambda x, y: criterion(model(x), y), None, optimizer.parameters)
rng = np.random.RandomState(6)
for _ in range(3):
    x = ms.Tensor(rng.rand(8, 9).astype(np.float32))
    y = ms.Tensor(rng.randint(0, 4, 8), ms.int32)
    loss, grads = grad_fn(x, y)
    optimizer(grads)
print(recorder.norms, {name: float(value.mean()) for name, value in recorder.outputs.items()})
