"""Per-example gradients, whole or projected, from one forward and one backward pass of a batch."""
