"""The default: the effective-data law and the Gaussian process, averaged.

The law carries over to mixtures unlike those run and to other scales; the process learns what no curve says once runs
are many. Chosen without test rows, by training on the sparse three quarters of a table and ranking its well-mixed
quarter, where optima lie, and by leave-one-out across model sizes (benchmarks/mixture/published.py).
"""

import numpy as np

from thresher.selection.mixture.effective import fit_effective
from thresher.selection.mixture.gaussian_process import fit_gaussian_process
from thresher.selection.mixture.law import Law, Losses, Weights


class Ensemble(Law):
    """The mean of several laws; where they disagree, the deviation grows."""

    def __init__(self, members: list[Law]):
        self.members = members

    @property
    def num_parameters(self) -> int:
        return min(member.num_parameters for member in self.members)

    def predict(self, weights):
        return np.mean([member.predict(weights) for member in self.members], axis=0)

    def deviation(self, weights):
        within = np.mean([member.deviation(weights) ** 2 for member in self.members], axis=0)
        between = np.var([member.predict(weights) for member in self.members], axis=0)
        return np.sqrt(within + between)

    def gradient(self, weights):
        return np.mean([member.gradient(weights) for member in self.members], axis=0)

    def refit(self, weights, losses):
        return Ensemble([member.refit(weights, losses) for member in self.members])


def fit_ensemble(weights: Weights, losses: Losses, seed: int = 0) -> Ensemble:
    fits = (fit_effective, fit_gaussian_process)
    return Ensemble([fit(weights, losses, seed) for fit in fits])
