"""Per-example gradients, whole or projected, from one forward and one backward pass of a batch.

The engine reads and verifies them; the featuriser, the gradient reader and slopes hold an engine and keep of its
gradients what they need.
"""
