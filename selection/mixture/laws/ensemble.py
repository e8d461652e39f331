"""The default: the law of diminishing returns and the Gaussian process, averaged, on the logarithms of the losses.

The law carries over to mixtures unlike those run; the process learns what no curve says once runs are many. Chosen by
one rule, on runs that judge nothing: of all single laws and equal means of two, the least tenfold error on RegMix's 512
training mixtures (mean over 13 losses, in units of each loss's spread): .106, next .109. No test mixture and no other
model size was read; `benchmarks/mixture/choice.py` repeats it and says how it then did.
"""

import numpy as np
from jaxtyping import Float

from thresher.selection.mixture.laws.diminishing import fit_diminishing
from thresher.selection.mixture.laws.gaussian_process import fit_gaussian_process
from thresher.selection.mixture.laws.law import Law, Losses, Weights
from thresher.selection.mixture.laws.linear import LogLaw


class Ensemble(Law):
    """The mean of several laws, whose deviation grows where they disagree."""

    def __init__(self, members: list[Law]):
        self.members = members
        self.smooth = all(member.smooth for member in members)

    @property
    def unfinished(self) -> dict[str, list[int]]:
        """Those of all members."""
        return {name: targets for member in self.members for name, targets in member.unfinished.items()}

    @property
    def num_parameters(self) -> int:
        """Those of the member with the fewest."""
        return min(member.num_parameters for member in self.members)

    def predict(self, weights: Weights) -> Losses:
        """The mean of the members' predictions."""
        return np.mean([member.predict(weights) for member in self.members], axis=0)

    def deviation(self, weights: Weights) -> Losses:
        """The members' own deviations and their disagreement together."""
        within = np.mean([member.deviation(weights) ** 2 for member in self.members], axis=0)
        between = np.var([member.predict(weights) for member in self.members], axis=0)
        return np.sqrt(within + between)

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The mean of the members' gradients."""
        return np.mean([member.gradient(weights) for member in self.members], axis=0)

    def refit(self, weights: Weights, losses: Losses) -> "Ensemble":
        """Every member refitted to other runs."""
        return Ensemble([member.refit(weights, losses) for member in self.members])


def fit_ensemble(weights: Weights, losses: Losses, seed: int = 0) -> Law:
    """Fit diminishing returns and the Gaussian process to the logarithms of the losses, and take their mean.

    If a loss is 0 or below and so has no logarithm, both are fitted to the losses themselves.
    """
    positive = bool(np.all(losses > 0))
    values = np.log(losses) if positive else losses
    law = Ensemble([fit(weights, values, seed) for fit in (fit_diminishing, fit_gaussian_process)])
    return LogLaw(law) if positive else law
