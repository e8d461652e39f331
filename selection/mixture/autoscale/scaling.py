"""AutoScale (arXiv 2407.20177): each domain's scaling from 2m+1 runs, the best mixture, larger budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq, least_squares

from thresher.errors import InputError
from thresher.selection.mixture.laws.law import Law, Losses, Weights

# The released solver's least amount of any domain, in units of the equal share.
FLOOR = 0.2


@dataclass(frozen=True)
class Runs:
    """The results of a direct data optimisation: a run on equal amounts, then each domain cut, then each raised."""

    base: float
    """Average perplexity (or loss) of the base run."""
    cut: Float[np.ndarray, "m"]
    """The results with each domain cut alone."""
    raised: Float[np.ndarray, "m"]
    """The results with each domain raised alone."""
    low: float = 1 / 5
    """What a cut domain keeps: 1/5 in the released code, 1/3 in the text."""
    high: float = 3.0
    """What a raised domain grows to."""

    @classmethod
    def in_order(cls, results: Float[np.ndarray, "r"], low: float = 1 / 5, high: float = 3.0) -> "Runs":
        """The runs from 2m + 1 results in the order of `design.one_up_one_down`; any other number raises InputError."""
        num_domains = len(results) // 2
        if len(results) != 2 * num_domains + 1 or num_domains < 2:
            raise InputError(f"{len(results)} results given; a DDO has 2m + 1: base, each domain cut, each raised")
        return cls(float(results[0]), results[1 : num_domains + 1], results[num_domains + 1 :], low, high)


class DomainScaling(Law):
    """One curve a domain: y_i(n) = (n + a_i)^(-b_i) + c_i, the result relative to the base run (eq. 6).

    n is in units of the equal share. As a law of mixtures it has one target, the mean result relative to the base run.
    """

    def __init__(
        self,
        a: Float[np.ndarray, "m"],
        b: Float[np.ndarray, "m"],
        c: Float[np.ndarray, "m"],
        missed: Sequence[int] = (),
    ):
        self.a, self.b, self.c = a, b, c
        self.missed: tuple[int, ...] = tuple(missed)
        """Domains whose points no falling curve passes through, so that they have the nearest one."""

    @property
    def num_parameters(self) -> int:
        """Three a domain."""
        return 3 * len(self.a)

    def curves(self, amounts: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
        """The value of each domain's curve, relative to the base run; amounts are in units of the equal share."""
        return (amounts + self.a) ** -self.b + self.c

    def predict(self, weights: Weights) -> Losses:
        """The mean result relative to the base run, one target."""
        base = self.curves(np.ones((1, len(self.a))))
        return 1 + np.sum(self.curves(weights * len(self.a)) - base, axis=1, keepdims=True)

    def deviation(self, weights: Weights) -> Losses:
        """Always 0: three points fix three parameters, and leave nothing to judge the fit by."""
        return np.zeros((len(weights), 1))

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The derivative of each domain's curve."""
        amounts = weights * len(self.a)
        return (-self.b * (amounts + self.a) ** (-self.b - 1) * len(self.a))[:, None, :]

    def refit(self, weights: Weights, losses: Losses) -> "DomainScaling":
        """Always raises InputError, because a design of 2m + 1 runs has no run to leave out."""
        raise InputError("a design of 2m+1 runs has no run to leave out; repeat it with other seeds for an interval")

    def optimum(
        self,
        total: float | None = None,
        lower: float | Float[np.ndarray, "m"] = FLOOR,
        upper: float | Float[np.ndarray, "m"] = np.inf,
    ) -> Float[np.ndarray, "m"]:
        """The amounts n within the bounds that minimise sum_i (n_i + a_i)^(-b_i) with sum n_i = `total` (default m).

        The solution is exact: at the optimum every free domain has the slope -mu, so that n_i is
        (b_i / mu)^(1 / (b_i + 1)) - a_i, clipped. Raises InputError if the bounds leave no room for `total`.
        """
        total = float(len(self.a)) if total is None else total
        floors, caps = np.broadcast_to(lower, self.a.shape), np.broadcast_to(upper, self.a.shape)
        if floors.sum() > total or caps.sum() < total:
            raise InputError(
                f"bounds that sum to {floors.sum():g} and {caps.sum():g} leave no room for a total of {total:g}; "
                "widen them"
            )

        def amounts(log_mu: float) -> Float[np.ndarray, "m"]:
            wanted = np.exp(np.clip((np.log(self.b) - log_mu) / (self.b + 1), -700, 700)) - self.a
            return np.clip(wanted, floors, caps)

        if amounts(-200.0).sum() < total or amounts(200.0).sum() >= total:
            return amounts(-200.0 if caps.sum() <= total else 200.0)
        root = cast(float, brentq(lambda log_mu: amounts(log_mu).sum() - total, -200.0, 200.0, xtol=1e-14))
        return amounts(root)

    def objective(self, amounts: Float[np.ndarray, "m"]) -> float:
        """The sum of all curves at `amounts`, which is m at equal amounts."""
        return float(self.curves(amounts[None]).sum())


def fit_autoscale(runs: Runs, *, strict: bool = True) -> DomainScaling:
    """Fit the three-parameter curve through each domain's three points.

    No such curve exists if results do not fall at a falling rate as a domain grows, as with noise or a domain that does
    little for a target. With `strict` such a domain raises InputError; otherwise it gets the nearest falling curve and
    is in `missed`.
    """
    if not 0 < runs.low < 1 < runs.high:
        raise InputError(
            f"cut to {runs.low:g} and raised to {runs.high:g}: the first must be in (0, 1), the second above 1"
        )
    amounts = np.array([runs.low, 1.0, runs.high])
    points = np.column_stack([runs.cut, np.full(len(runs.cut), runs.base), runs.raised]) / runs.base
    if not np.all(np.isfinite(points)) or runs.base <= 0:
        raise InputError("results must be finite and the base run's above 0; check the columns")
    slopes = -np.diff(points, axis=1) / np.diff(amounts)
    missed = np.flatnonzero(~((slopes[:, 0] > slopes[:, 1]) & (slopes[:, 1] > 0))).tolist()
    if strict and missed:
        raise InputError(
            f"domain {missed[0]}: results {points[missed[0]].round(4).tolist()} at amounts {amounts.tolist()} do not "
            "fall at a falling rate, so no curve fits; repeat its runs with other seeds, or fit without `strict`"
        )
    a, b, c = np.array([_curve(amounts, values) for values in points]).T
    return DomainScaling(a, b, c, missed)


def _curve(amounts: Float[np.ndarray, "3"], values: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    def wrong(p):
        a, b = np.exp(p[:2])
        return (amounts + a) ** -b + p[2] - values

    def jacobian(p):
        a, b = np.exp(p[:2])
        rise = (amounts + a) ** -b
        return np.column_stack([-b * rise / (amounts + a) * a, -rise * np.log(amounts + a) * b, np.ones(3)])

    starts = [(np.log(a), np.log(b), 0.9) for a in (0.5, 2.0, 6.0) for b in (0.5, 1.5)]
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 500, "bounds": ([-9, -9, -9], [9, 5, 9])}
    fits = [least_squares(wrong, start, jac=jacobian, **tight) for start in starts]  # pyright: ignore[reportArgumentType]
    # Two curves can pass through the same three points. Of those that do, the one with the higher floor promises the
    # least from more data, and is the one that the released code finds.
    exact = [fit for fit in fits if fit.cost <= 1e-20] or [min(fits, key=lambda fit: fit.cost)]
    a, b, c = max(exact, key=lambda fit: fit.x[2]).x
    return np.array([np.exp(a), np.exp(b), c])


@dataclass(frozen=True)
class Projection:
    """A mixture at a budget, and how far that lies beyond the fitted ones."""

    weights: Float[np.ndarray, "m"]
    amounts: Float[np.ndarray, "m"]
    """In the budget's units."""
    t: float
    """0 at the first budget, 1 at the second; beyond 2 is pure extrapolation."""


def project_paper(first: Float[np.ndarray, "m"], second: Float[np.ndarray, "m"], budget: float) -> Projection:
    """The mixture at `budget` by the paper's rule (Theorem 1), from the optimal amounts at two budgets.

    N_i(t) = N_i^(1) (N_i^(2) / N_i^(1))^t, with t such that the amounts sum to `budget`. `first` and `second` are the
    tokens of each domain. Raises InputError for amounts of 0, equal budgets, and a budget that the path misses.
    """
    if np.any(first <= 0) or np.any(second <= 0):
        raise InputError("an optimal amount of 0 has no geometric path; use a floor above 0 at both budgets")
    if budget <= 0 or np.isclose(first.sum(), second.sum(), rtol=1e-6):
        raise InputError("projection needs two different budgets and a target above 0; check the three numbers")
    growth = np.log(second / first)

    def total(t: float) -> float:
        return float(np.log(np.sum(first * np.exp(np.clip(t * growth, -600, 600)))) - np.log(budget))

    middle = np.log(budget / first.sum()) / np.log(second.sum() / first.sum())
    reach = 1.0
    while total(middle - reach) * total(middle + reach) > 0:
        reach *= 2
        if reach > 1e4:
            raise InputError(
                f"no point of the path between the two optima holds {budget:g} in all; use `exact` instead"
            )
    t = cast(float, brentq(total, middle - reach, middle + reach, xtol=1e-14))
    amounts = first * np.exp(t * growth)
    return Projection(amounts / amounts.sum(), amounts, t)


def project_exact(
    law: DomainScaling,
    fitted_budget: float,
    budget: float,
    *,
    lower: float | Float[np.ndarray, "m"] = FLOOR,
    upper: float | Float[np.ndarray, "m"] = np.inf,
) -> Projection:
    """The mixture at `budget` by solving the fitted program anew.

    Because of the offset a, log(N + a) of a domain grows evenly with the budget and log N does not.
    The bounds are in units of the fitted equal share, as in `DomainScaling.optimum`. t counts doublings, log2(budget /
    fitted_budget), so that 1 is twice the fitted budget.
    """
    num_domains = len(law.a)
    amounts = law.optimum(num_domains * budget / fitted_budget, lower, upper)
    return Projection(
        amounts / amounts.sum(), amounts * fitted_budget / num_domains, float(np.log2(budget / fitted_budget))
    )
