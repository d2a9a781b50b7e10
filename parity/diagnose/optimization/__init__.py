"""From gradients to updates: what is done to them, by which rule."""
