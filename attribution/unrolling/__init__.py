"""Going back through a training: what a weight on each example has done to the model at its end."""
