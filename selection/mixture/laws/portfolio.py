"""UtiliMax-style portfolio (arXiv 2501.11747): domains as assets, utility as return, its spread as risk."""

import numpy as np
from jaxtyping import Float

from thresher.selection.mixture.laws.law import Law, Losses, Weights
from thresher.selection.mixture.laws.linear import LinearLaw


class Portfolio(Law):
    """risk/2 x' S x - mean_utility . x, one target: the larger the utility and the steadier over tasks, the lower.

    `utility` [m, k] is what a domain does for each task; each task is put to unit spread over the domains, so that no
    task decides by its scale. S is the covariance of domains over tasks, shrunk half way to its diagonal.
    """

    def __init__(self, utility: Float[np.ndarray, "m k"], risk: float = 1.0):
        centred = utility - utility.mean(axis=0)
        standard = centred / np.maximum(centred.std(axis=0), 1e-12)
        self.risk = risk
        self.mean = standard.mean(axis=1)
        spread = np.cov(standard) if utility.shape[1] > 1 else np.eye(len(utility))
        self.covariance = (spread + np.diag(np.diag(spread))) / 2

    @property
    def num_parameters(self) -> int:
        return len(self.mean)

    def predict(self, weights):
        risk = np.einsum("np,pq,nq->n", weights, self.covariance, weights)
        return (self.risk / 2 * risk - weights @ self.mean)[:, None]

    def deviation(self, weights):
        return np.sqrt(np.einsum("np,pq,nq->n", weights, self.covariance, weights).clip(min=0))[:, None]

    def gradient(self, weights):
        return (self.risk * weights @ self.covariance - self.mean)[:, None, :]

    def refit(self, weights, losses):
        return fit_utilimax(weights, losses, risk=self.risk)


def utilities(weights: Weights, losses: Losses) -> Float[np.ndarray, "m k"]:
    """What a unit of each domain lowers each loss by, from small ablation runs (least squares)."""
    return -LinearLaw(weights, losses).slope.T


def fit_utilimax(weights: Weights, losses: Losses, seed: int = 0, *, risk: float = 1.0) -> Portfolio:
    return Portfolio(utilities(weights, losses), risk)
