"""One law of loss against mixture a file."""
