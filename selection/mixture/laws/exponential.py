"""The Data Mixing Law (arXiv 2403.16952, eq. 7): L(x) = c + k exp(t . x), and its nested step and size laws."""

import numpy as np
from jaxtyping import Float

from thresher.selection.mixture.laws.curves import CurveLaw
from thresher.selection.mixture.laws.law import Losses, Weights


class ExponentialCurve:
    """The curve c + exp(t . x): since weights sum to 1, k is the same shift of every t and needs no parameter."""

    name = "exponential"

    def ridge(self, losses: Float[np.ndarray, "n"], num_domains: int) -> float:
        """No pull: the runs alone decide."""
        return 0.0

    def starts(self, weights: Weights, losses: Float[np.ndarray, "n"]) -> list[Float[np.ndarray, "p"]]:
        """Three starts, with the floor from just below to far below the lowest loss."""
        spread = max(losses.std(), 1e-12)
        floors = losses.min() - spread * np.array([0.05, 1.0, 4.0])
        return [self._start(weights, losses, floor, spread) for floor in floors]

    def value(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n"]:
        """The curve's loss on each mixture."""
        return parameters[0] + self._rise(parameters, weights)

    def jacobian(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n p"]:
        """The derivative of `value` in each parameter."""
        return np.column_stack([np.ones(len(weights)), weights * self._rise(parameters, weights)[:, None]])

    def slope(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n m"]:
        """The derivative of `value` in each weight."""
        return self._rise(parameters, weights)[:, None] * parameters[1:]

    def _rise(self, parameters, weights):
        return np.exp(np.clip(weights @ parameters[1:], -30, 30))

    def _start(self, weights, losses, floor, spread):
        """With the floor known the logarithm is linear; a slight ridge towards the mean keeps unseen domains calm."""
        height = np.log(np.maximum(losses - floor, 0.01 * spread))
        rows = np.vstack([weights, 0.01 * np.eye(weights.shape[1])])
        goal = np.append(height, np.full(weights.shape[1], 0.01 * height.mean()))
        return np.append(floor, np.linalg.lstsq(rows, goal, rcond=None)[0])


def fit_exponential(weights: Weights, losses: Losses, seed: int = 0, *, delta: float = 1.0) -> CurveLaw:
    """One curve a target, Huber loss (linear beyond `delta` standard deviations of the losses), three starts."""
    return CurveLaw(ExponentialCurve(), weights, losses, delta)
