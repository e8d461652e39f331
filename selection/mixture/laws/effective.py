"""Effective data: L(x) = c + (a . x)^(-b), a >= 0.

Every domain is worth a_j tokens of the target's own data, and the loss is a power law of their sum. It is AutoScale's
(n + a)^(-b) (arXiv 2407.20177) with transfer from every domain instead of one constant, and unlike the exponential
law it is steep where the target's own domains are rare.
"""

import numpy as np
from jaxtyping import Float

from thresher.selection.mixture.laws.curves import CurveLaw
from thresher.selection.mixture.laws.law import Losses, Weights

# Logarithms of a: beyond these the curve no longer moves, and a step must not run away along it.
LOWEST, HIGHEST = -40.0, 40.0


class EffectiveDataCurve:
    """The curve by its parameters (c, log b, log a_1 .. log a_m), whose logarithms need no bounds."""

    name = "effective"

    def ridge(self, losses: Float[np.ndarray, "n"], num_domains: int) -> float:
        """No pull: the runs alone decide."""
        return 0.0

    def starts(self, weights: Weights, losses: Float[np.ndarray, "n"]) -> list[Float[np.ndarray, "p"]]:
        """Two starts, with the floor just below and far below the lowest loss."""
        spread = max(losses.std(), 1e-12)
        floors = losses.min() - spread * np.array([0.1, 2.0])
        return [self._start(weights, losses, floor) for floor in floors]

    def value(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n"]:
        """The curve's loss on each mixture."""
        return parameters[0] + self._parts(parameters, weights)[0]

    def jacobian(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n p"]:
        """The derivative of `value` in each parameter."""
        rise, exponent, worth, amount = self._parts(parameters, weights)
        by_exponent = -rise * exponent * np.log(amount)
        by_worth = (-exponent * rise / amount)[:, None] * weights * worth
        return np.column_stack([np.ones(len(weights)), by_exponent, by_worth])

    def slope(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n m"]:
        """The derivative of `value` in each weight."""
        rise, exponent, worth, amount = self._parts(parameters, weights)
        return (-exponent * rise / amount)[:, None] * worth

    def _parts(self, parameters, weights):
        exponent = np.exp(np.clip(parameters[1], -6, 4))
        worth = np.exp(np.clip(parameters[2:], LOWEST, HIGHEST))
        amount = weights @ worth + 1e-12
        return np.exp(np.clip(-exponent * np.log(amount), -30, 30)), exponent, worth, amount

    def _start(self, weights, losses, floor, exponent=0.3):
        worth = -np.log(losses.mean() - floor) / exponent
        return np.concatenate([[floor, np.log(exponent)], np.full(weights.shape[1], worth)])


def fit_effective(weights: Weights, losses: Losses, seed: int = 0, *, delta: float = 1.0) -> CurveLaw:
    """One curve a target, Huber loss, two starts: all domains alike, over a near and a far floor."""
    return CurveLaw(EffectiveDataCurve(), weights, losses, delta)
