"""Checkpoints that others made: what they say of themselves, honoured or refused by name."""
