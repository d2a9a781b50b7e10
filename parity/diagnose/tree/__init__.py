"""The tree of layers: what both models hold, call, train and share."""
