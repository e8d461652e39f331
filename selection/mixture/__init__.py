"""Mixtures: from runs, scores or token counts to domain weights for a budget, and how sure they are."""
