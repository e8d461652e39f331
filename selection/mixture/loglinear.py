"""The log-linear law of Olmix: L_j(x) = exp(a_j . x), convex in x, so that with a KL pull to a prior and any box of
weights the optimum is one and exact."""

import numpy as np

from thresher.errors import InputError
from thresher.selection.mixture.law import Law, LinearLaw, Losses, Weights


class LogLinearLaw(Law):
    """Least squares on the logarithms of the losses."""

    def __init__(self, weights: Weights, losses: Losses):
        if np.any(losses <= 0):
            raise InputError(f"loss {losses.min():g} has no logarithm; use losses above 0, or another method")
        self._line = LinearLaw(weights, np.log(losses))

    @property
    def num_parameters(self) -> int:
        return self._line.num_parameters

    def predict(self, weights):
        return np.exp(self._line.predict(weights))

    def deviation(self, weights):
        return self.predict(weights) * self._line.deviation(weights)

    def gradient(self, weights):
        return self.predict(weights)[:, :, None] * self._line.slope

    def refit(self, weights, losses):
        return LogLinearLaw(weights, losses)


def fit_loglinear(weights: Weights, losses: Losses, seed: int = 0) -> LogLinearLaw:
    return LogLinearLaw(weights, losses)
