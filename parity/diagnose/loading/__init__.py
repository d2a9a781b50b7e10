"""Batches: how loaders make them, what enters the steps, and how an epoch goes."""
