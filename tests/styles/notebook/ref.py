#!/usr/bin/env python
# coding: utf-8

# # Forecasting with an LSTM

# In[1]:


import numpy as np
import torch
import torch.nn as nn

try:
    get_ipython().run_line_magic('matplotlib', 'inline')
except NameError:
    pass


# In[2]:


torch.manual_seed(0)
np.random.seed(0)

t = np.linspace(0, 20, 120)
series = (np.sin(t) + 0.1 * np.random.randn(120)).astype(np.float32)
windows = np.stack([series[i:i + 12] for i in range(100)])[:, :, None]
targets = series[12:112, None]
windows.shape, targets.shape


# In[3]:


class Forecaster(nn.Module):
    def __init__(self, hidden=10):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, num_layers=1, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        out, (h, c) = self.lstm(x)
        return self.head(out[:, -1])


model = Forecaster()
sum(p.numel() for p in model.parameters())


# ## Training

# In[4]:


optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loss_fn = nn.MSELoss()
history = []
for epoch in range(2):
    for i in range(0, 100, 20):
        x = torch.from_numpy(windows[i:i + 20])
        y = torch.from_numpy(targets[i:i + 20])
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        history.append(loss.item())


# In[ ]:


history[-1]
