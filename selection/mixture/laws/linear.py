"""The linear law, and the log-linear law of Olmix, L_j(x) = exp(a_j . x).

The log-linear law is convex in x, so that with a KL pull to a prior and any box of weights the optimum is unique.
"""

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.selection.mixture.laws.law import Law, Losses, Weights

# exp(50) is beyond any loss.
FURTHEST = 50.0


class LinearLaw(Law):
    """L_j(x) = intercept_j + slope_j . x, by least squares (RegMix's linear baseline)."""

    def __init__(self, weights: Weights, losses: Losses):
        num_runs, num_domains = weights.shape
        design = np.column_stack([np.ones(num_runs), weights])
        # Weights sum to 1, so the intercept is not separate from the slopes: pinv takes the smallest of the equal fits.
        inverse = np.linalg.pinv(design)
        coefficients = inverse @ losses
        self.intercept, self.slope = coefficients[0], coefficients[1:].T
        freedom = max(num_runs - num_domains, 1)
        self._variance = np.sum((losses - design @ coefficients) ** 2, axis=0) / freedom
        self._covariance = inverse @ inverse.T

    @property
    def num_parameters(self) -> int:
        """One a domain."""
        return self.slope.shape[1]

    def predict(self, weights: Weights) -> Losses:
        """The linear prediction of each target."""
        return self.intercept + weights @ self.slope.T

    def deviation(self, weights: Weights) -> Losses:
        """The deviation that least squares gives a new run."""
        design = np.column_stack([np.ones(len(weights)), weights])
        leverage = np.einsum("np,pq,nq->n", design, self._covariance, design)
        return np.sqrt((1 + leverage)[:, None] * self._variance)

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The slopes, the same for every mixture."""
        return np.broadcast_to(self.slope, (len(weights), *self.slope.shape))

    def refit(self, weights: Weights, losses: Losses) -> "LinearLaw":
        """Least squares on other runs."""
        return LinearLaw(weights, losses)


class LogLaw(Law):
    """A law of the logarithms of the losses, L(x) = exp(law(x)), cut where a wild refit would overflow."""

    def __init__(self, law: Law):
        self.law, self.smooth = law, law.smooth

    @property
    def unfinished(self) -> dict[str, list[int]]:
        """Those of the law of the logarithms."""
        return self.law.unfinished

    @property
    def num_parameters(self) -> int:
        """Those of the law of the logarithms."""
        return self.law.num_parameters

    def predict(self, weights: Weights) -> Losses:
        """The exponential of what the law of the logarithms predicts."""
        return np.exp(np.clip(self.law.predict(weights), -FURTHEST, FURTHEST))

    def deviation(self, weights: Weights) -> Losses:
        """The deviation to first order: that of the logarithm is a share of the loss."""
        return self.predict(weights) * self.law.deviation(weights)

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The gradient by the chain rule."""
        return self.predict(weights)[:, :, None] * self.law.gradient(weights)

    def refit(self, weights: Weights, losses: Losses) -> "LogLaw":
        """The same law of the logarithms on other runs."""
        return LogLaw(self.law.refit(weights, np.log(losses)))


def fit_linear(weights: Weights, losses: Losses, seed: int = 0) -> LinearLaw:
    """Least squares on the losses."""
    return LinearLaw(weights, losses)


def fit_loglinear(weights: Weights, losses: Losses, seed: int = 0) -> LogLaw:
    """Least squares on the logarithms of the losses. Raises InputError for a loss of 0 or below."""
    if np.any(losses <= 0):
        raise InputError(f"loss {losses.min():g} has no logarithm; use losses above 0, or another method")
    return LogLaw(LinearLaw(weights, np.log(losses)))
