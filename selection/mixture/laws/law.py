"""What every mixture method becomes once fitted: a function from domain weights to losses, with its uncertainty."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Weights = Float[np.ndarray, "n m"]
Losses = Float[np.ndarray, "n k"]


class Law(ABC):
    """Fitted losses of k targets over mixtures of m domains. Lower is better."""

    smooth: bool = True
    """Whether `gradient` exists; the optimiser searches by sampling where it does not."""

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Fitted numbers a target."""

    @abstractmethod
    def predict(self, weights: Weights) -> Losses:
        """The expected loss of a run on each mixture."""

    @abstractmethod
    def deviation(self, weights: Weights) -> Losses:
        """Standard deviation of a new run's loss around `predict`: the law's uncertainty and the noise of one run."""

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """Derivative of `predict` in each weight, the others held."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    @abstractmethod
    def refit(self, weights: Weights, losses: Losses) -> "Law":
        """The same kind of law on other runs, starting from this fit: what the bootstrap and the folds repeat."""


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
        return self.slope.shape[1]

    def predict(self, weights):
        return self.intercept + weights @ self.slope.T

    def deviation(self, weights):
        design = np.column_stack([np.ones(len(weights)), weights])
        leverage = np.einsum("np,pq,nq->n", design, self._covariance, design)
        return np.sqrt((1 + leverage)[:, None] * self._variance)

    def gradient(self, weights):
        return np.broadcast_to(self.slope, (len(weights), *self.slope.shape))

    def refit(self, weights, losses):
        return LinearLaw(weights, losses)


# exp(50) is beyond any loss.
FURTHEST = 50.0


class LogLaw(Law):
    """A law of the logarithms of the losses: L(x) = exp(law(x)), cut where a wild refit would overflow."""

    def __init__(self, law: Law):
        self.law, self.smooth = law, law.smooth

    @property
    def num_parameters(self) -> int:
        return self.law.num_parameters

    def predict(self, weights):
        return np.exp(np.clip(self.law.predict(weights), -FURTHEST, FURTHEST))

    def deviation(self, weights):
        """To first order: the deviation of the logarithm is a share of the loss."""
        return self.predict(weights) * self.law.deviation(weights)

    def gradient(self, weights):
        return self.predict(weights)[:, :, None] * self.law.gradient(weights)

    def refit(self, weights, losses):
        return LogLaw(self.law.refit(weights, np.log(losses)))


Fit = Callable[[Weights, Losses, int], Law]
"""(weights, losses, seed) -> law: how every method that learns from a table of runs is called."""
