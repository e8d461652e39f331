"""AutoScale on a DDO: fit every domain, optimise for a budget under constraints, say how sure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.intervals import percentiles
from thresher.seeds import numpy_rng
from thresher.selection.mixture import baselines
from thresher.selection.mixture.autoscale.ddo import Ddo
from thresher.selection.mixture.autoscale.scaling import (
    FLOOR,
    DomainScaling,
    Projection,
    Runs,
    fit_autoscale,
    project_exact,
    project_paper,
)
from thresher.selection.mixture.constraints import Constraints, make_constraints
from thresher.selection.mixture.goal import Goal, make_goal
from thresher.selection.mixture.laws.law import Law, Losses, Weights
from thresher.selection.mixture.optimiser import optimise
from thresher.selection.mixture.table import MixtureTable


class Scaled(Law):
    """AutoScale's fits of k targets as a law of weights at `ratio` times the fitted budget."""

    def __init__(self, fits: list[DomainScaling], base: Float[np.ndarray, "k"], ratio: float = 1.0):
        self.fits, self.base, self.ratio = fits, base, ratio

    @property
    def num_parameters(self) -> int:
        """Three a domain."""
        return self.fits[0].num_parameters

    def predict(self, weights: Weights) -> Losses:
        """The loss of each target by its own fit."""
        return self.base * np.hstack([fit.predict(weights * self.ratio) for fit in self.fits])

    def deviation(self, weights: Weights) -> Losses:
        """Always 0: the fits pass through every point."""
        return np.zeros((len(weights), len(self.base)))

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The derivative of each target's fit."""
        steep = np.concatenate([fit.gradient(weights * self.ratio) for fit in self.fits], axis=1)
        return steep * self.ratio * self.base[:, None]

    def refit(self, weights: Weights, losses: Losses) -> "Law":
        """Always raises InputError, as `DomainScaling.refit` does."""
        return self.fits[0].refit(weights, losses)


@dataclass(frozen=True)
class AutoScaleProposal:
    """AutoScale's mixture for a budget. Intervals are 95 %, over repeats of the runs; None where there are none."""

    method: str
    mode: str
    num_runs: int
    num_resamples: int
    fitted_budget: float
    budget: float
    t: float
    """`paper`: 0 and 1 at the two fitted budgets. `exact`: log2 of the budget over the fitted one."""
    weights: dict[str, float]
    weight_intervals: dict[str, tuple[float, float]] | None
    amounts: dict[str, float]
    """Of each domain, in the budget's units."""
    predicted_losses: dict[str, float]
    """By the exact law at the budget, target by target."""
    objective: float
    baselines: dict[str, dict[str, float]]
    baseline_objectives: dict[str, float]
    fits: dict[str, tuple[float, float, float]]
    """(a, b, c) of each domain, of the goal."""
    warnings: list[str]
    repairs: list[str]

    def to_json(self) -> dict[str, Any]:
        """The proposal as a plain dictionary."""
        return asdict(self)


def propose_autoscale(
    table: MixtureTable,
    ddo: Ddo,
    *,
    fitted_budget: float = 1.0,
    budget: float | None = None,
    mode: Literal["exact", "paper"] = "exact",
    second: tuple[MixtureTable, Ddo, float] | None = None,
    goal: Goal | None = None,
    constraints: Constraints | None = None,
    natural: Float[np.ndarray, "m"] | None = None,
    floor: float = FLOOR,
    num_resamples: int = 200,
    seed: int = 0,
) -> AutoScaleProposal:
    """Fit the DDO and optimise for `budget` (default: the fitted one).

    Mode `exact` solves the fitted program anew at the budget, under the constraints; the worst case and KL go through
    the common optimiser. Mode `paper` extrapolates the optima at two budgets (`second`: table, DDO and budget of the
    other) and then moves to the nearest mixture in the constraints. `floor` is the least amount of a domain, in fitted
    equal shares. Raises InputError for budgets of 0 or below, a mode that does not fit `second`, other domains, a
    target that `second` lacks, and bounds that leave no room.
    """
    budget = fitted_budget if budget is None else budget
    if not (fitted_budget > 0 and budget > 0):
        raise InputError(f"budgets {fitted_budget:g} and {budget:g} must be above 0; check them")
    if (mode == "paper") != (second is not None):
        raise InputError("mode paper needs DDOs at two budgets and mode exact takes one; check --mode and --second")
    if second is not None:
        if second[0].domains != table.domains:
            raise InputError("the two DDOs are over other domains, or the same in another order; give both alike")
        second = (second[0].only(table.targets), *second[1:])
    goal = make_goal(table.targets) if goal is None else goal
    constraints = make_constraints(table.domains) if constraints is None else constraints
    natural = constraints.prior if natural is None else natural
    warnings: list[str] = []

    def solve(
        cells: list[np.ndarray] | None, other_cells: list[np.ndarray] | None
    ) -> tuple[Scaled, DomainScaling, Projection]:
        law, whole = _fit(table, ddo, goal, cells)
        law = Scaled(law.fits, law.base, budget / fitted_budget)
        if second is not None:
            _, other = _fit(second[0], second[1], goal, other_cells)
            here, there = (fit.optimum(lower=floor) / len(table.domains) for fit in (whole, other))
            return law, whole, project_paper(here * fitted_budget, there * second[2], budget)
        return law, whole, _exact(law, whole, goal, constraints, natural, fitted_budget, budget, floor, seed)

    law, whole, projection = solve(None, None)
    weights = projection.weights
    if second is not None:
        weights = constraints.project(weights[None])[0]
        if (moved := np.abs(weights - projection.weights).sum() / 2) > 1e-6:
            warnings.append(f"the extrapolated mixture broke the constraints; {moved:.1%} of the data was moved")
    intervals, done = None, 0
    if num_resamples and ddo.repeated and (second is None or second[1].repeated):
        rng = numpy_rng(seed, "ddo")
        optima = []
        for _ in range(num_resamples):
            cells = ddo.resampled(rng), None if second is None else second[1].resampled(rng)
            optima.append(constraints.project(solve(*cells)[2].weights[None])[0])
        bounds, done = percentiles(np.array(optima)), num_resamples
        intervals = {name: (float(a), float(b)) for name, a, b in zip(table.domains, *bounds, strict=True)}
    else:
        warnings.append("no interval: three points fix each domain's curve; repeat every run with other seeds")
    warnings += _warnings(
        table, constraints, weights, projection.t, floor * fitted_budget / len(table.domains) / budget
    )
    # What was observed is compared with natural at the runs' own budget, the predictions with it at the one asked for.
    seen, aim = (goal.counted_from(one.predict(natural[None])) for one in (Scaled(law.fits, law.base), law))
    others = {
        "natural": natural,
        "uniform": baselines.uniform(len(table.domains)),
        "best observed": baselines.best_observed(table.weights, table.losses, seen),
    }
    values = aim.value(law.predict(np.vstack([weights, *others.values()])))
    return AutoScaleProposal(
        method="autoscale",
        mode=mode,
        num_runs=len(table) + (len(second[0]) if second else 0),
        num_resamples=done,
        fitted_budget=float(fitted_budget),
        budget=float(budget),
        t=float(projection.t),
        weights=_named(table.domains, weights),
        weight_intervals=intervals,
        amounts=_named(table.domains, weights * budget),
        predicted_losses=_named(table.targets, law.predict(weights[None])[0]),
        objective=float(values[0]),
        baselines={name: _named(table.domains, row) for name, row in others.items()},
        baseline_objectives=_named(others, values[1:]),
        fits={
            name: (float(a), float(b), float(c))
            for name, a, b, c in zip(table.domains, whole.a, whole.b, whole.c, strict=True)
        },
        warnings=[*_missed(table, whole), *warnings],
        repairs=list(table.repairs),
    )


def _fit(table: MixtureTable, ddo: Ddo, goal: Goal, cells: list[np.ndarray] | None) -> tuple[Scaled, DomainScaling]:
    """Every target's own fits, and those of the goal, which AutoScale optimises."""
    results = ddo.results(table.losses, cells)

    def fit(values: Float[np.ndarray, "r"]) -> DomainScaling:
        return fit_autoscale(Runs.in_order(values, ddo.low, ddo.high), strict=False)

    weighted = replace(goal, worst_case=False).value(results)
    return Scaled([fit(column) for column in results.T], results[0]), fit(weighted)


def _exact(
    law: Scaled,
    whole: DomainScaling,
    goal: Goal,
    constraints: Constraints,
    natural: Float[np.ndarray, "m"],
    fitted_budget: float,
    budget: float,
    floor: float,
    seed: int,
) -> Projection:
    num_domains, ratio = len(constraints.domains), budget / fitted_budget
    total = num_domains * ratio
    lower = np.maximum(constraints.lower * total, floor)
    upper = np.maximum(constraints.upper * total, lower)
    if np.any(lower > constraints.upper * total * (1 + 1e-9)) or lower.sum() > total:
        short = constraints.domains[int(np.argmax(lower - constraints.upper * total))]
        raise InputError(
            f"AutoScale's least amount ({floor:g} of the fitted equal share) does not fit the ceilings or the budget "
            f"({short}); lower --floor-amount or raise them"
        )
    exact = project_exact(whole, fitted_budget, budget, lower=lower, upper=upper)
    if not (goal.worst_case or constraints.kl_weight or constraints.max_kl is not None):
        return exact
    inside = replace(constraints, lower=lower / total, upper=upper / total)
    aim = goal.counted_from(law.predict(natural[None]))
    weights = optimise(law, aim, inside, seed=seed, starts=exact.weights[None]).weights
    return replace(exact, weights=weights, amounts=weights * budget)


def _warnings(
    table: MixtureTable, constraints: Constraints, weights: Float[np.ndarray, "m"], t: float, least: float
) -> list[str]:
    warnings = []
    bounds = constraints.on_bound(weights)
    low = [d for d, w in zip(table.domains, weights, strict=True) if w <= least * (1 + 1e-6) and d not in bounds]
    if low or bounds:
        named = [f"{domain} (AutoScale's least amount)" for domain in low]
        warnings.append("on a bound: " + ", ".join([*named, *(f"{d} ({bound})" for d, bound in bounds.items())]))
    if t > 2:
        warnings.append(f"t = {t:.2f} is beyond 2: pure extrapolation from the fitted budgets")
    return warnings


def _missed(table: MixtureTable, whole: DomainScaling) -> list[str]:
    missed = ", ".join(table.domains[d] for d in whole.missed)
    return [f"no falling curve passes through the results of {missed}; the nearest one was taken"] if missed else []


def _named(names: Iterable[str], values: Float[np.ndarray, "v"]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
