"""Laws that are one curve a target, fitted by damped least squares on the Huber loss from several starts."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from thresher.selection.mixture.laws.law import Law, Losses, Weights

MAX_STEPS = 200
# A step that lowers the loss by less than this share is the last. Refits start at a fit: on RegMix's 512 runs, a refit
# of diminishing returns is then .0010 from the full one where the bootstrap spreads by .0077, in a quarter of the time.
FIT_TOLERANCE, REFIT_TOLERANCE = 1e-9, 1e-6
# A descent that ends at the last step is unfinished if its last tenth still lowered the loss by more than this share,
# unless the residuals are below this part of the losses' spread, where nothing is left to gain.
STILL_FALLING, NOTHING = 0.01, 1e-5


@runtime_checkable
class Curve(Protocol):
    """A family of curves over m domains, with p parameters."""

    @property
    def name(self) -> str:
        """The method that fits it."""
        ...

    def ridge(self, losses: Float[np.ndarray, "n"], num_domains: int) -> Float[np.ndarray, "p"] | float:
        """The precision of the pull towards the first start, in squared losses; 0 if the runs alone decide."""
        ...

    def starts(self, weights: Weights, losses: Float[np.ndarray, "n"]) -> list[Float[np.ndarray, "p"]]:
        """The parameters that fits of one target's losses start from."""
        ...

    def value(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n"]:
        """The curve's loss on each mixture."""
        ...

    def jacobian(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n p"]:
        """The derivative of `value` in each parameter."""
        ...

    def slope(self, parameters: Float[np.ndarray, "p"], weights: Weights) -> Float[np.ndarray, "n m"]:
        """The derivative of `value` in each weight."""
        ...


class CurveLaw(Law):
    """One curve a target; the Huber loss turns linear at `delta` standard deviations of the target's losses."""

    def __init__(self, curve: Curve, weights: Weights, losses: Losses, delta: float, starts: list | None = None):
        self.curve, self.delta = curve, delta
        fits = []
        for target in range(losses.shape[1]):
            begin = curve.starts(weights, losses[:, target]) if starts is None else [starts[target]]
            # Always towards the family's own start, so that refits of one table are pulled alike.
            pull = Pull(curve.starts(weights, losses[:, target])[0], curve.ridge(losses[:, target], weights.shape[1]))
            turn = delta * max(losses[:, target].std(), 1e-12)
            tolerance = FIT_TOLERANCE if starts is None else REFIT_TOLERANCE
            fits.append(_best(curve, weights, losses[:, target], begin, turn, pull, tolerance))
        self.parameters = np.stack([parameters for parameters, *_ in fits])
        self._unfinished = {curve.name: places} if (places := [j for j, fit in enumerate(fits) if fit[2]]) else {}
        self._errors = [_Errors(curve, weights, losses[:, j], fits[j][0]) for j in range(losses.shape[1])]

    @property
    def num_parameters(self) -> int:
        """The parameters of one curve."""
        return self.parameters.shape[1]

    @property
    def unfinished(self) -> dict[str, list[int]]:
        """The targets whose curve was still coming down after MAX_STEPS."""
        return self._unfinished

    def predict(self, weights: Weights) -> Losses:
        """The value of each target's curve."""
        return np.column_stack([self.curve.value(parameters, weights) for parameters in self.parameters])

    def deviation(self, weights: Weights) -> Losses:
        """The deviation of each target by the delta method."""
        return np.column_stack([errors.deviation(weights) for errors in self._errors])

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The slope of each target's curve."""
        return np.stack([self.curve.slope(parameters, weights) for parameters in self.parameters], axis=1)

    def refit(self, weights: Weights, losses: Losses) -> "CurveLaw":
        """The curves fitted to other runs, each started at its fit here."""
        return CurveLaw(self.curve, weights, losses, self.delta, starts=list(self.parameters))


@dataclass(frozen=True)
class Pull:
    """A pull towards given parameters: precision / 2 * (parameters - towards)^2 is added to the Huber loss."""

    towards: Float[np.ndarray, "p"]
    precision: Float[np.ndarray, "p"] | float

    def cost(self, parameters: Float[np.ndarray, "p"]) -> float:
        """What the pull adds at `parameters`."""
        return float(np.sum(self.precision * (parameters - self.towards) ** 2) / 2)


def fit_curve(
    curve: Curve,
    weights: Weights,
    losses: Float[np.ndarray, "n"],
    starts: list,
    delta: float,
    pull: Pull | None = None,
    tolerance: float = FIT_TOLERANCE,
) -> tuple[Float[np.ndarray, "p"], float]:
    """The best of the minima reached from `starts`, and its Huber loss (with the pull, where there is one)."""
    return _best(curve, weights, losses, starts, delta, Pull(starts[0], 0.0) if pull is None else pull, tolerance)[:2]


def _best(
    curve: Curve,
    weights: Weights,
    losses: Float[np.ndarray, "n"],
    starts: list,
    delta: float,
    pull: Pull,
    tolerance: float,
) -> tuple[Float[np.ndarray, "p"], float, bool]:
    """What `fit_curve` gives, and whether the descent to it is unfinished."""
    fits = (_descend(curve, weights, losses, start, delta, pull, tolerance) for start in starts)
    return min(fits, key=lambda fit: fit[1])


def _descend(
    curve: Curve,
    weights: Weights,
    losses: Float[np.ndarray, "n"],
    parameters: Float[np.ndarray, "p"],
    delta: float,
    towards: Pull,
    tolerance: float,
) -> tuple[Float[np.ndarray, "p"], float, bool]:
    """Levenberg-Marquardt on the Huber loss, residuals reweighted at each step; the last says whether it is unfinished.

    Ours rather than scipy's `least_squares`, whose bookkeeping is most of its time at this size: .7 s against 5.4 s
    for the effective-data law on 512 runs, 13 targets (2-core Xeon 2.5 GHz), and the bootstrap repeats it 200 times.
    """
    damping = 1e-2
    residual = losses - curve.value(parameters, weights)
    cost = _huber(residual, delta) + towards.cost(parameters)
    costs = [cost]
    for _ in range(MAX_STEPS):
        jacobian = curve.jacobian(parameters, weights)
        share = np.minimum(1, delta / np.maximum(np.abs(residual), 1e-300))
        normal = jacobian.T @ (jacobian * share[:, None]) + np.diag(towards.precision * np.ones(len(parameters)))
        pull = jacobian.T @ (share * residual) - towards.precision * (parameters - towards.towards)
        previous = cost
        for _ in range(12):
            ridge = damping * np.diag(normal.diagonal() + 1e-10 * max(normal.diagonal().max(), 1e-300))
            trial = parameters + _solve(normal + ridge, pull)
            trial_residual = losses - curve.value(trial, weights)
            trial_cost = _huber(trial_residual, delta) + towards.cost(trial)
            if trial_cost < cost:
                parameters, residual, cost = trial, trial_residual, trial_cost
                damping = max(damping / 5, 1e-9)
                break
            damping *= 4
        costs.append(cost)
        if previous - cost <= tolerance * previous:
            return parameters, cost, False
    before = costs[-1 - max(1, MAX_STEPS // 10)]
    worth = before > len(losses) * (NOTHING * losses.std()) ** 2 / 2
    return parameters, cost, bool(worth and before - cost > STILL_FALLING * before)


def _solve(matrix: Float[np.ndarray, "p p"], vector: Float[np.ndarray, "p"]) -> Float[np.ndarray, "p"]:
    """`lstsq`, ten times slower at 37 parameters, is for the matrix that has no inverse."""
    try:
        return np.linalg.solve(matrix, vector)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, vector, rcond=None)[0]


def _huber(residual: Float[np.ndarray, "n"], delta: float) -> float:
    size = np.abs(residual)
    total = np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).sum()
    return float(total) if np.isfinite(total) else np.inf


class _Errors:
    """The delta method: parameter covariance s^2 (J'J)^-1 carried to a prediction, plus the noise s of one run."""

    def __init__(
        self, curve: Curve, weights: Weights, losses: Float[np.ndarray, "n"], parameters: Float[np.ndarray, "p"]
    ):
        self.curve, self.parameters = curve, parameters
        jacobian = curve.jacobian(parameters, weights)
        freedom = max(len(losses) - len(parameters), 1)
        self.variance = np.sum((losses - curve.value(parameters, weights)) ** 2) / freedom
        # Directions that the runs never moved along stay out: a law says nothing there, and 1/0 would say anything.
        self.covariance = self.variance * np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-10, hermitian=True)

    def deviation(self, weights: Weights) -> Float[np.ndarray, "n"]:
        jacobian = self.curve.jacobian(self.parameters, weights)
        return np.sqrt(self.variance + np.einsum("np,pq,nq->n", jacobian, self.covariance, jacobian).clip(min=0))
