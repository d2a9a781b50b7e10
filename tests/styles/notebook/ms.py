#!/usr/bin/env python
# coding: utf-8

# In[1]:


import mindspore as ms
import numpy as np
from mindspore import nn, ops

if 'get_ipython' in globals():
    get_ipython().run_line_magic('load_ext', 'autoreload')


# In[2]:


ms.set_context(mode=ms.PYNATIVE_MODE)
ms.set_seed(0)
np.random.seed(0)

t = np.linspace(0, 20, 120)
series = (np.sin(t) + 0.1 * np.random.randn(120)).astype(np.float32)
windows = np.stack([series[i:i + 12] for i in range(100)])[:, :, None]
targets = series[12:112, None]


# In[3]:


class Forecaster(nn.Cell):
    def __init__(self, hidden=10):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, num_layers=1, batch_first=True)
        self.head = nn.Dense(hidden, 1)

    def construct(self, x):
        out, (h, c) = self.lstm(x)
        return self.head(out[:, -1])


model = Forecaster()
sum(p.size for p in model.get_parameters())


# In[4]:


optimizer = nn.SGD(model.trainable_params(), learning_rate=0.05, momentum=0.9)
loss_fn = nn.MSELoss()
step = ms.value_and_grad(lambda x, y: loss_fn(model(x), y), None, optimizer.parameters)
history = []
for epoch in range(2):
    for i in range(0, 100, 20):
        loss, grads = step(ms.Tensor(windows[i:i + 20]), ms.Tensor(targets[i:i + 20]))
        optimizer(grads)
        history.append(float(loss))


# In[5]:


get_ipython().system('nvidia-smi') if 'get_ipython' in dir() else history[-1]
