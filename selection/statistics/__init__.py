"""Comparisons with their intervals: over seeds, of proxies with a reference, of learning rates."""
