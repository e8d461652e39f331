"""What to keep: from scores to a subset, from a table of runs to a mixture, and from losses to a verdict."""
