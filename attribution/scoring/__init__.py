"""From features or gradients to scores of a pool for targets."""
