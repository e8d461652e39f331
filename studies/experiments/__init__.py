"""Train many, compare: validation, transfer from small to large, learning rates, the quality of attribution."""
