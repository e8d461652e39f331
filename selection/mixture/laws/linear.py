"""The log-linear law of Olmix: L_j(x) = exp(a_j . x), convex in x, so that with a KL pull to a prior and any box of
weights the optimum is one and exact."""

import numpy as np

from thresher.errors import InputError
from thresher.selection.mixture.laws.law import LinearLaw, LogLaw, Losses, Weights


def fit_loglinear(weights: Weights, losses: Losses, seed: int = 0) -> LogLaw:
    """Least squares on the logarithms of the losses."""
    if np.any(losses <= 0):
        raise InputError(f"loss {losses.min():g} has no logarithm; use losses above 0, or another method")
    return LogLaw(LinearLaw(weights, np.log(losses)))
