"""A Gaussian process over mixtures: Matern 5/2, one length a domain, on fourth roots of the weights.

Roots make the first percent of a domain count for more than the tenth. Tenfold error on RegMix's 512 training mixtures,
in units of the spread of the log losses: .199 on the weights, .115 on square, .111 on cube, .110 on fourth roots.
Written here rather than taken from scikit-learn because lengths are learnt with a gradient that never forms the n x n
derivative of each domain, and because the optimiser needs the gradient in the weights.
"""

from copy import copy

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from thresher.seeds import numpy_rng
from thresher.selection.mixture.laws.law import Law, Losses, Weights

# Finite slope at weight 0; a tenth of what mixtures are usually rounded to.
OFFSET = 1e-4
# Lengths are learnt from at most this many runs: cubic cost, and they move little beyond it.
LEARN_FROM = 256
JITTER = 1e-6


class GaussianProcess(Law):
    """One process a target, each with a constant mean and its own lengths, amplitude and noise."""

    def __init__(self, weights: Weights, losses: Losses, seed: int, hyper: Float[np.ndarray, "k h"] | None = None):
        self.seed = seed
        self.points = _embed(weights)
        self.centre, self.scale = losses.mean(axis=0), np.maximum(losses.std(axis=0), 1e-12)
        standard = (losses - self.centre) / self.scale
        self.hyper = self._learn(standard) if hyper is None else hyper
        self._solve(standard)

    @property
    def num_parameters(self) -> int:
        """A length for each domain, an amplitude, a noise and a mean."""
        return self.hyper.shape[1] + 1

    def predict(self, weights: Weights) -> Losses:
        """The mean of each process."""
        rows = [
            np.einsum("kan,kn->ak", _kernel(part, self.points, self.hyper)[0], self.dual)
            for part in _parts(_embed(weights))
        ]
        return self.centre + self.scale * np.vstack(rows)

    def deviation(self, weights: Weights) -> Losses:
        """The deviation of each process, the noise of a run included."""
        amplitude, noise = np.exp(self.hyper[:, 0]), np.exp(self.hyper[:, -1])
        rows = []
        for part in _parts(_embed(weights)):
            explained = [
                np.sum(solve_triangular(factor, near.T, lower=True) ** 2, axis=0)
                for factor, near in zip(self.factors, _kernel(part, self.points, self.hyper)[0], strict=True)
            ]
            rows.append((amplitude[:, None] - np.array(explained)).clip(min=0).T)
        return self.scale * np.sqrt(np.vstack(rows) + noise)

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The derivative of each process's mean."""
        points, lengths = _embed(weights), np.exp(self.hyper[:, 1:-1])
        rows = []
        for part in _parts(points):
            pull = _kernel(part, self.points, self.hyper)[1] * self.dual[:, None]
            slope = (pull @ self.points - part * pull.sum(axis=2)[:, :, None]) / lengths[:, None] ** 2
            rows.append(np.moveaxis(slope / (4 * part**3), 0, 1))
        return np.vstack(rows) * self.scale[:, None]

    def refit(self, weights: Weights, losses: Losses) -> "GaussianProcess":
        """The processes on other runs, with the lengths and the noise that were learnt here."""
        return GaussianProcess(weights, losses, self.seed, self.hyper)

    def shared_deviation(self, weights: Weights, seen: Float[np.ndarray, "s m"]) -> Losses:
        """The deviation if runs on `seen` had been made as well: it depends on their place, not their losses."""
        grown = copy(self)
        grown.points = np.vstack([self.points, _embed(seen)])
        grown._solve(np.zeros((len(grown.points), len(self.hyper))))
        return grown.deviation(weights)

    def _learn(self, standard: Losses) -> Float[np.ndarray, "k h"]:
        rows = np.arange(len(standard))
        if len(rows) > LEARN_FROM:
            drawn = numpy_rng(self.seed, "gaussian-process").choice(rows, LEARN_FROM, replace=False)
            # The same runs in whatever order they stand.
            rows = np.lexsort(np.hstack([standard, self.points]).T)[np.sort(drawn)]
        return np.stack([_learn_one(self.points[rows], column[rows]) for column in standard.T])

    def _solve(self, standard: Losses) -> None:
        eye = np.eye(len(self.points))
        self.factors, duals = [], []
        for hyper, values in zip(self.hyper, standard.T, strict=True):
            kernel = _kernel(self.points, self.points, hyper[None])[0][0]
            self.factors.append(np.linalg.cholesky(kernel + (np.exp(hyper[-1]) + JITTER) * eye))
            duals.append(cho_solve((self.factors[-1], True), values))
        self.dual = np.array(duals)


def fit_gaussian_process(weights: Weights, losses: Losses, seed: int = 0) -> GaussianProcess:
    """Fit one process to each target."""
    return GaussianProcess(weights, losses, seed)


def _embed(weights: Weights) -> Float[np.ndarray, "n m"]:
    return (np.maximum(weights, 0) + OFFSET) ** 0.25


def _parts(points: Float[np.ndarray, "a m"], size: int = 256) -> list[Float[np.ndarray, "b m"]]:
    """Rows a few at a time, so that memory does not grow with how many are asked about."""
    return [points[start : start + size] for start in range(0, len(points), size)]


def _kernel(
    left: Float[np.ndarray, "a m"], right: Float[np.ndarray, "b m"], hyper: Float[np.ndarray, "k h"]
) -> tuple[Float[np.ndarray, "k a b"], Float[np.ndarray, "k a b"]]:
    """Matern 5/2 of k targets, s (1 + r + r^2/3) exp(-r) with r^2 = 5 d^2, and its -2 d/d(d^2).

    `hyper` [k, m+2] = (log s, log lengths, log noise).
    """
    lengths = np.exp(hyper[:, None, 1:-1])
    left, right = left / lengths, right / lengths
    across = left @ right.transpose(0, 2, 1)
    squared = np.sum(left**2, axis=2)[:, :, None] + np.sum(right**2, axis=2)[:, None] - 2 * across
    r = np.sqrt(5 * np.maximum(squared, 0))
    decay = np.exp(hyper[:, 0, None, None] - r)
    linear = decay * (1 + r)
    return linear + decay * r**2 / 3, linear * (5 / 3)


def _learn_one(points: Float[np.ndarray, "n m"], standard: Float[np.ndarray, "n"]) -> Float[np.ndarray, "h"]:
    num_domains = points.shape[1]
    centre = np.concatenate([[0.0], np.full(num_domains, np.log(1 / 3)), [np.log(0.05)]])
    bounds = [(-6.0, 8.0), *[(-5.0, 4.0)] * num_domains, (-10.0, 1.0)]
    options = {"maxiter": 25}
    result = minimize(
        _evidence, centre, (points, standard, centre), "L-BFGS-B", jac=True, bounds=bounds, options=options
    )
    return result.x


def _evidence(
    hyper: Float[np.ndarray, "h"],
    points: Float[np.ndarray, "n m"],
    standard: Float[np.ndarray, "n"],
    centre: Float[np.ndarray, "h"],
) -> tuple[float, Float[np.ndarray, "h"]]:
    """Negative log marginal likelihood and its gradient, with a wide normal prior (sd 2) on the log lengths."""
    num_runs = len(standard)
    kernel, steep = (part[0] for part in _kernel(points, points, hyper[None]))
    try:
        factor = np.linalg.cholesky(kernel + (np.exp(hyper[-1]) + JITTER) * np.eye(num_runs))
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(hyper)
    half = solve_triangular(factor, np.eye(num_runs), lower=True)
    inverse = half.T @ half
    dual = inverse @ standard
    value = standard @ dual / 2 + np.log(np.diag(factor)).sum()
    outer = (inverse - np.outer(dual, dual)) / 2
    pull, scaled = outer * steep, points / np.exp(hyper[1:-1])
    slope = np.empty_like(hyper)
    slope[0] = np.sum(outer * kernel)
    slope[1:-1] = 2 * (pull.sum(axis=1) @ scaled**2 - np.sum(scaled * (pull @ scaled), axis=0))
    slope[-1] = np.trace(outer) * np.exp(hyper[-1])
    away = (hyper - centre)[1:-1]
    slope[1:-1] += away / 4
    return value + np.sum(away**2) / 8, slope
