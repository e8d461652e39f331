"""One optimiser for every law: the best mixture in the constraints.

Candidates are sampled and scored in one batch. For a smooth law the best few are refined by sequential quadratic
programming; for trees, whose surface is flat almost everywhere, the best `AVERAGED` are averaged (RegMix), which stays
inside because the constraints are convex.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from thresher.seeds import numpy_rng
from thresher.selection.mixture.constraints import Constraints
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.laws.law import Law, Weights

NUM_CANDIDATES = 4096
NUM_REFINED = 4
AVERAGED = 128


@dataclass(frozen=True)
class Optimum:
    """The best mixture that was found."""

    weights: Float[np.ndarray, "m"]
    objective: float
    """The goal's value there, with the KL penalty if there is one."""


def optimise(
    law: Law,
    goal: Goal,
    constraints: Constraints,
    *,
    seed: int = 0,
    starts: Weights | None = None,
    num_candidates: int = NUM_CANDIDATES,
    num_refined: int = NUM_REFINED,
) -> Optimum:
    """The mixture of least goal within the constraints.

    `starts`, such as the mixtures already run, join the sampled candidates; with `num_candidates=0` they are the only
    ones. The best `num_refined` are refined.
    """
    pools = [] if num_candidates == 0 else [sample_mixtures(constraints, num_candidates, seed)]
    if starts is not None:
        pools.append(constraints.project(starts))
    pool = np.vstack(pools)
    values = objective(law, goal, constraints, pool)
    order = np.argsort(values, kind="stable")
    if not law.smooth:
        best = constraints.project(pool[order[:AVERAGED]].mean(axis=0, keepdims=True))
        return Optimum(best[0], float(objective(law, goal, constraints, best)[0]))
    refined = np.stack([_refine(law, goal, constraints, pool[row]) for row in order[:num_refined]])
    # A refinement that ended in a bad step must not lose to where it began.
    finalists = constraints.project(np.vstack([refined, pool[order[:1]]]))
    values = objective(law, goal, constraints, finalists)
    return Optimum(finalists[np.argmin(values)], float(values.min()))


def objective(law: Law, goal: Goal, constraints: Constraints, weights: Weights) -> Float[np.ndarray, "n"]:
    """The goal of each mixture by the law, with the KL penalty if there is one."""
    value = goal.value(law.predict(weights))
    return value + constraints.kl_weight * constraints.kl(weights) if constraints.kl_weight else value


def sample_mixtures(constraints: Constraints, num: int, seed: int) -> Weights:
    """Mixtures in the constraints: Dirichlet around the prior at strengths from sparse to close, and around uniform."""
    rng = numpy_rng(seed, "mixtures")
    num_domains = len(constraints.domains)
    strength = np.exp(rng.uniform(np.log(0.3), np.log(100), size=num)) * num_domains / 4
    base = np.where(rng.random(num)[:, None] < 0.5, constraints.prior, 1 / num_domains)
    gammas = rng.gamma(np.maximum(strength[:, None] * base, 1e-2)) + 1e-12
    points = gammas / gammas.sum(axis=1, keepdims=True)
    corners = np.vstack([constraints.prior, np.full(num_domains, 1 / num_domains)])
    return constraints.project(np.vstack([corners, points])[:num])


def _refine(law: Law, goal: Goal, constraints: Constraints, start: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Sequential quadratic programming; the worst case as the least s above every target's excess."""
    num_domains = len(start)
    # In losses of about unit size: SLSQP's tolerance is absolute.
    unit = max(float(np.ptp(goal.value(law.predict(np.vstack([start, constraints.closest_to_prior()]))))), 1e-6)
    bounds = list(zip(constraints.lower, np.maximum(constraints.upper, constraints.lower), strict=True))
    sums = np.append(np.ones(num_domains), np.zeros(int(goal.worst_case)))
    rules = [{"type": "eq", "fun": lambda v: sums @ v - 1, "jac": lambda v: sums}]
    if constraints.max_kl is not None:
        rules.append(_kl_rule(constraints, int(goal.worst_case)))
    if goal.worst_case:
        rules.append(_worst_case_rule(law, goal, unit))
        start = np.append(start, goal.value(law.predict(start[None]))[0] / unit)
        bounds.append((None, None))

    def value(v):
        x = v[None, :num_domains]
        penalty, slope = (
            constraints.kl_weight * constraints.kl(x)[0],
            constraints.kl_weight * constraints.kl_gradient(x)[0],
        )
        if goal.worst_case:
            return v[-1] + penalty / unit, np.append(slope / unit, 1.0)
        mean = goal.weights @ law.predict(x)[0] + penalty
        return mean / unit, (goal.weights @ law.gradient(x)[0] + slope) / unit

    options = {"maxiter": 100, "ftol": 1e-8}
    result = minimize(value, start, jac=True, bounds=bounds, constraints=rules, method="SLSQP", options=options)
    return result.x[:num_domains] if np.all(np.isfinite(result.x)) else start[:num_domains]


def _worst_case_rule(law: Law, goal: Goal, unit: float) -> dict:
    counted = goal.weights > 0
    scale = (goal.weights * np.count_nonzero(counted))[counted] / unit

    def room(v):
        return v[-1] - goal.excess(law.predict(v[None, :-1]))[0, counted] / unit

    def slope(v):
        gradient = law.gradient(v[None, :-1])[0, counted] * scale[:, None]
        return np.column_stack([-gradient, np.ones(len(gradient))])

    return {"type": "ineq", "fun": room, "jac": slope}


def _kl_rule(constraints: Constraints, num_extra: int) -> dict:
    num_domains = len(constraints.domains)
    pad = np.zeros(num_extra)
    return {
        "type": "ineq",
        "fun": lambda v: constraints.max_kl - constraints.kl(v[None, :num_domains])[0],
        "jac": lambda v: np.append(-constraints.kl_gradient(v[None, :num_domains])[0], pad),
    }
