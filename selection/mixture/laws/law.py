"""What every mixture method is once it is fitted: a function from domain weights to losses, with its uncertainty."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Weights = Float[np.ndarray, "n m"]
Losses = Float[np.ndarray, "n k"]


class Law(ABC):
    """Fitted losses of k targets over mixtures of m domains. Lower is better."""

    smooth: bool = True
    """Whether `gradient` exists; without it the optimiser searches by sampling."""

    @property
    def unfinished(self) -> dict[str, list[int]]:
        """Methods whose fit stopped before it had converged where that matters, and the targets' places."""
        return {}

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Fitted numbers a target."""

    @abstractmethod
    def predict(self, weights: Weights) -> Losses:
        """The expected loss of a run on each mixture."""

    @abstractmethod
    def deviation(self, weights: Weights) -> Losses:
        """The standard deviation of a new run's loss around `predict`, the noise of that run included."""

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """Derivative of `predict` in each weight, the others held."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    @abstractmethod
    def refit(self, weights: Weights, losses: Losses) -> "Law":
        """The same kind of law fitted to other runs, starting from this fit; the bootstrap repeats it."""


Fit = Callable[[Weights, Losses, int], Law]
"""(weights, losses, seed) -> law: how every method that learns from a table of runs is called."""
