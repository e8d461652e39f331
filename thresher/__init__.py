"""Thresher: find the training data that matters, at proxy cost."""

__version__ = "0.1.0"
