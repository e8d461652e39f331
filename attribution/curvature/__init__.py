"""The curvature of the training loss: Kronecker factors of the Fisher, Gauss-Newton products, and solves with both."""
