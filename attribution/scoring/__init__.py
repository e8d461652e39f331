"""From features or gradients to scores of a pool for targets, and the search for an example's nearest ones."""
