"""Scores of a pool by any scorer: what they work from, the score of every pair, one artefact from all."""
