"""Mixtures by training: runs on designed mixtures, proposals from them, their validation."""
