"""Experiments that stand on all parts: the whole loop, its studies, their reports."""
