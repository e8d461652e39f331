"""UtiliMax-style portfolio (arXiv 2501.11747): domains as assets, utility as return, its spread as risk."""

import numpy as np
from jaxtyping import Float

from thresher.selection.mixture.laws.law import Law, Losses, Weights
from thresher.selection.mixture.laws.linear import LinearLaw


class Portfolio(Law):
    """The one value risk/2 x' S x - mean_utility . x: the larger the utility and the steadier over tasks, the lower.

    `utility` is what a domain does for each task. Each task is scaled to unit spread over the domains, so that no task
    decides by its scale. S is the covariance of domains over tasks, shrunk half way to its diagonal. Mean and
    covariance count each task by its weight, which sum to 1; None: all equally.
    """

    def __init__(
        self, utility: Float[np.ndarray, "m k"], risk: float = 1.0, tasks: Float[np.ndarray, "k"] | None = None
    ):
        centred = utility - utility.mean(axis=0)
        standard = centred / np.maximum(centred.std(axis=0), 1e-12)
        self.utility, self.risk = utility, risk
        self.tasks = np.full(utility.shape[1], 1 / utility.shape[1]) if tasks is None else tasks
        self.mean = standard @ self.tasks
        spread = np.cov(standard, aweights=self.tasks) if utility.shape[1] > 1 else np.eye(len(utility))
        self.covariance = (spread + np.diag(np.diag(spread))) / 2

    @property
    def num_parameters(self) -> int:
        """One a domain."""
        return len(self.mean)

    def counting(self, tasks: Float[np.ndarray, "k"]) -> "Portfolio":
        """The same with other weights of its tasks."""
        return Portfolio(self.utility, self.risk, tasks)

    def predict(self, weights: Weights) -> Losses:
        """Risk less utility, lower is better."""
        risk = np.einsum("np,pq,nq->n", weights, self.covariance, weights)
        return (self.risk / 2 * risk - weights @ self.mean)[:, None]

    def deviation(self, weights: Weights) -> Losses:
        """The standard deviation of the utility over tasks."""
        return np.sqrt(np.einsum("np,pq,nq->n", weights, self.covariance, weights).clip(min=0))[:, None]

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The derivative of risk less utility."""
        return (self.risk * weights @ self.covariance - self.mean)[:, None, :]

    def refit(self, weights: Weights, losses: Losses) -> "Portfolio":
        """The portfolio of utilities that are fitted to other runs."""
        return Portfolio(utilities(weights, losses), self.risk, self.tasks)


def utilities(weights: Weights, losses: Losses) -> Float[np.ndarray, "m k"]:
    """How much a unit of each domain lowers each loss, by least squares on small ablation runs."""
    return -LinearLaw(weights, losses).slope.T


def fit_utilimax(weights: Weights, losses: Losses, seed: int = 0, *, risk: float = 1.0) -> Portfolio:
    """The portfolio of the utilities that small ablation runs show, with `risk` the aversion to it."""
    return Portfolio(utilities(weights, losses), risk)
