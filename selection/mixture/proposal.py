"""From a table of runs to a proposed mixture, with all that is known about how good it is."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.intervals import percentiles
from thresher.progress import SILENT, Progress
from thresher.selection.mixture import baselines
from thresher.selection.mixture.constraints import Constraints, make_constraints
from thresher.selection.mixture.goal import Goal, make_goal
from thresher.selection.mixture.laws.law import Law
from thresher.selection.mixture.laws.portfolio import Portfolio
from thresher.selection.mixture.methods import DEFAULT, method_named
from thresher.selection.mixture.optimiser import objective, optimise
from thresher.selection.mixture.table import MixtureTable
from thresher.selection.mixture.uncertainty import Bootstrap, HeldOut, bootstrap, hold_out, warnings_of

Bounds = tuple[float, float]
"""The lower and the upper end of an interval."""
BASELINES = ("uniform", "natural", "best-observed")
"""Mixtures that `propose` takes in place of a method: nothing is optimised, all is predicted."""


@dataclass(frozen=True)
class Proposal:
    """One proposed mixture. Intervals are 95 %, from the bootstrap; None where none was asked for."""

    method: str
    num_runs: int
    num_resamples: int
    seed: int
    weights: dict[str, float]
    weight_intervals: dict[str, Bounds] | None
    objective: float
    predicted_losses: dict[str, float] | None
    loss_intervals: dict[str, Bounds] | None
    """Where the fitted law lies; where one run may fall is `run_deviation`."""
    run_deviation: dict[str, float] | None
    """Standard deviation of one new run's loss around the prediction."""
    baselines: dict[str, dict[str, float]]
    """Weights of natural, uniform and best observed."""
    baseline_objectives: dict[str, float]
    gains: dict[str, dict[str, float]] | None
    """Predicted goal of each baseline minus that of the proposal: mean, low, high. Above 0 the proposal is better."""
    indistinguishable: dict[str, Bounds] | None
    """Range of each domain's weight over the mixtures that the refits do not agree to be worse."""
    held_out: dict[str, dict[str, float]] | None
    """Of each target: rmse, r2, spearman on runs the fit never saw."""
    num_folds: int
    warnings: list[str]
    repairs: list[str]

    def to_json(self) -> dict[str, Any]:
        """The proposal as a plain dictionary."""
        return asdict(self)


def propose(
    table: MixtureTable,
    *,
    method: str = DEFAULT,
    goal: Goal | None = None,
    constraints: Constraints | None = None,
    natural: Float[np.ndarray, "m"] | None = None,
    num_resamples: int = 200,
    check: bool = True,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Proposal:
    """Fit a law to the table, find its best mixture within the constraints, and say how sure that is.

    `method` is one of METHODS or of BASELINES; `natural` is the token-proportional mixture (default: the constraints'
    prior). The worst case counts each target's excess over its predicted loss on `natural`. With `check=False` there
    are no held-out errors, with `num_resamples=0` no intervals. Raises InputError for an unknown method, a
    worst case of a method that predicts no losses, and constraints over other domains than the table's.
    """
    fixed = method in BASELINES
    # A baseline is judged by the default law: the mixture is given, its losses are still to be predicted.
    chosen = method_named(DEFAULT if fixed else method)
    goal = make_goal(table.targets) if goal is None else goal
    constraints = make_constraints(table.domains) if constraints is None else constraints
    if constraints.domains != table.domains:
        raise InputError(
            f"constraints are over {', '.join(constraints.domains)}; the table has {', '.join(table.domains)}"
        )
    natural = constraints.prior if natural is None else natural
    table, goal = counted(table, goal)

    if goal.worst_case and not chosen.predicts_losses:
        raise InputError(f"{method} predicts no losses, whose largest the worst case is; leave one of them out")
    law = chosen.fit(table.weights, table.losses, seed)
    law = law.counting(goal.weights) if isinstance(law, Portfolio) else law
    goal = goal.counted_from(law.predict(natural[None])) if chosen.predicts_losses else goal
    aim = goal if chosen.predicts_losses else Goal(np.ones(1))
    optimum = optimise(law, aim, constraints, seed=seed, starts=table.weights)
    others = {
        "natural": natural,
        "uniform": baselines.uniform(len(table.domains)),
        "best observed": baselines.best_observed(table.weights, table.losses, goal),
    }
    best = constraints.project(others[method.replace("-", " ")][None])[0] if fixed else optimum.weights
    asked = np.vstack([best, *others.values()])
    resampled = None
    if num_resamples:
        options = {"num_resamples": num_resamples, "seed": seed, "progress": progress}
        resampled = bootstrap(law, table, aim, constraints, asked, **options)
    held = hold_out(chosen.fit, table, seed=seed, progress=progress) if check and chosen.predicts_losses else None
    return _describe(
        method, chosen.predicts_losses, law, table, aim, constraints, asked, list(others), resampled, held, seed
    )


def counted(table: MixtureTable, goal: Goal) -> tuple[MixtureTable, Goal]:
    """Table and goal without the targets that do not count, which cost fits and decide nothing."""
    names = [target for target, weight in zip(table.targets, goal.weights, strict=True) if weight > 0]
    return table.only(names), replace(goal, weights=goal.weights[goal.weights > 0], reference=None)


def _describe(
    method: str,
    predicts_losses: bool,
    law: Law,
    table: MixtureTable,
    goal: Goal,
    constraints: Constraints,
    asked: Float[np.ndarray, "a m"],
    others: Sequence[str],
    resampled: Bootstrap | None,
    held: HeldOut | None,
    seed: int,
) -> Proposal:
    best = asked[0]
    values = objective(law, goal, constraints, asked)
    losses = _named(table.targets, law.predict(asked[:1])[0]) if predicts_losses else None
    deviation = _named(table.targets, law.deviation(asked[:1])[0]) if predicts_losses else None
    return Proposal(
        method=method,
        num_runs=len(table),
        num_resamples=0 if resampled is None else len(resampled.optima),
        seed=seed,
        weights=_named(table.domains, best),
        weight_intervals=None if resampled is None else _intervals(table.domains, percentiles(resampled.optima)),
        objective=float(values[0]),
        predicted_losses=losses,
        loss_intervals=_loss_intervals(table, resampled) if predicts_losses else None,
        run_deviation=deviation,
        baselines={name: _named(table.domains, row) for name, row in zip(others, asked[1:], strict=True)},
        baseline_objectives=_named(others, values[1:]),
        gains=None if resampled is None else {name: _gain(resampled, place + 1) for place, name in enumerate(others)},
        indistinguishable=None if resampled is None else _set_ranges(table, resampled, len(asked)),
        held_out=None if held is None else _held_out(table, held),
        num_folds=0 if held is None else held.num_folds,
        warnings=warnings_of(law, table, best, constraints, held, resampled),
        repairs=list(table.repairs),
    )


def _named(names: Iterable[str], values: Float[np.ndarray, "v"]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _intervals(
    names: Iterable[str], bounds: tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v"]]
) -> dict[str, Bounds]:
    return {name: (float(low), float(high)) for name, low, high in zip(names, *bounds, strict=True)}


def _loss_intervals(table: MixtureTable, resampled: Bootstrap | None) -> dict[str, Bounds] | None:
    return None if resampled is None else _intervals(table.targets, percentiles(resampled.predictions))


def _gain(resampled: Bootstrap, place: int) -> dict[str, float]:
    gain = resampled.gain(place)
    return {"mean": gain.value, "low": gain.low, "high": gain.high}


def _set_ranges(table: MixtureTable, resampled: Bootstrap, num_asked: int) -> dict[str, Bounds]:
    chosen = resampled.indistinguishable()
    # The proposed one belongs to the set; baselines may break the constraints and do not.
    chosen[1:num_asked] = False
    alike = resampled.pool[chosen]
    return _intervals(table.domains, (alike.min(axis=0), alike.max(axis=0)))


def _held_out(table: MixtureTable, held: HeldOut) -> dict[str, dict[str, float]]:
    rows = zip(table.targets, held.rmse, held.r2, held.spearman, strict=True)
    return {target: {"rmse": float(e), "r2": float(r), "spearman": float(s)} for target, e, r, s in rows}
