"""How sure a proposed mixture is: held-out errors, the bootstrap of the optimum, what cannot be told from the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import spearmanr

from thresher.intervals import Interval, resampled
from thresher.progress import SILENT, Progress, track
from thresher.seeds import numpy_rng
from thresher.selection.mixture.constraints import Constraints
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.laws import curves
from thresher.selection.mixture.laws.law import Fit, Law, Losses, Weights
from thresher.selection.mixture.optimiser import objective, optimise, sample_mixtures
from thresher.selection.mixture.table import MixtureTable, folds

# Up to this many runs each is left out alone; beyond, ten at a time.
LEAVE_ONE_OUT = 40
POOL = 512


@dataclass(frozen=True)
class HeldOut:
    """Predictions of runs that the fit never saw, and their errors, one number a target."""

    num_folds: int
    predictions: Losses
    rmse: Float[np.ndarray, "k"]
    r2: Float[np.ndarray, "k"]
    spearman: Float[np.ndarray, "k"]


@dataclass(frozen=True)
class Bootstrap:
    """Refits on b samples of the runs."""

    optima: Float[np.ndarray, "b m"]
    """The best mixture of each refit."""
    pool: Float[np.ndarray, "c m"]
    """Mixtures that every refit scored: those asked about first, then candidates."""
    values: Float[np.ndarray, "b c"]
    """The goal on each mixture of the pool by each refit; lower is better."""
    predictions: Float[np.ndarray, "b k"]
    """Losses predicted for the first mixture of the pool: the proposed one."""

    def gain(self, over: int) -> Interval:
        """How much larger the goal is on the mixture `pool[over]` than on the proposed one, both by the same refit.

        The value is the mean over refits.
        """
        gains = self.values[:, over] - self.values[:, 0]
        return resampled(gains.mean(), gains)

    def indistinguishable(self, level: float = 0.95) -> Bool[np.ndarray, "c"]:
        """Which mixtures of the pool the refits do not agree to be worse than the proposed one."""
        return np.quantile(self.values - self.values[:, :1], 1 - level, axis=0) <= 0

    def distance(self, weights: Float[np.ndarray, "m"]) -> float:
        """The share of the data (total variation) that moves from `weights` to the optimum, median over refits."""
        return float(np.median(np.abs(self.optima - weights).sum(axis=1) / 2))


def hold_out(fit: Fit, table: MixtureTable, *, seed: int = 0, progress: Progress = SILENT) -> HeldOut:
    """Errors on held-out runs, one mixture at a time up to `LEAVE_ONE_OUT` runs and tenfold beyond.

    Each fold fits everything anew, so that nothing is learnt from the runs that it predicts.
    """
    num_folds = len(table) if len(table) <= LEAVE_ONE_OUT else 10
    pairs = list(folds(table, num_folds, seed))
    predictions = np.empty_like(table.losses)
    for train, held in track(pairs, "held-out errors", len(pairs), progress):
        predictions[held] = fit(table.weights[train], table.losses[train], seed).predict(table.weights[held])
    return HeldOut(len(pairs), predictions, *errors(predictions, table.losses))


def errors(predictions: Losses, losses: Losses) -> tuple[Float[np.ndarray, "k"], ...]:
    """Root mean square error, R^2 and Spearman's correlation of each target; the last is 0 for constant predictions."""
    squared = np.mean((predictions - losses) ** 2, axis=0)
    ranks = [
        spearmanr(p, y)[0] if np.ptp(p) > 0 and np.ptp(y) > 0 else 0.0
        for p, y in zip(predictions.T, losses.T, strict=True)
    ]
    return np.sqrt(squared), 1 - squared / losses.var(axis=0), np.array(ranks)


def bootstrap(
    law: Law,
    table: MixtureTable,
    goal: Goal,
    constraints: Constraints,
    asked: Weights,
    *,
    num_resamples: int = 200,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Bootstrap:
    """Refit `law` on resampled runs and optimise each refit.

    `asked[0]` is the proposed mixture, `asked[1]` the natural one, from whose losses, as the same refit predicts them,
    a worst case is counted; every refit also scores the others.
    """
    rng = numpy_rng(seed, "bootstrap")
    pool = np.vstack([asked, _pool(table, asked[0], constraints, seed)])
    # Fewer different runs than this leave a refit nothing to vary over.
    least = min(3, len(table))
    optima, values, predictions = [], [], []
    for _ in track(range(num_resamples), "bootstrap", num_resamples, progress):
        rows = rng.integers(len(table), size=len(table))
        while len(np.unique(rows)) < least:
            rows = rng.integers(len(table), size=len(table))
        refit = law.refit(table.weights[rows], table.losses[rows])
        own = goal.counted_from(refit.predict(asked[1:2])) if goal.worst_case else goal
        scored = objective(refit, own, constraints, pool)
        # Trees average the best of the pool; smooth laws are refined from where this refit is lowest.
        count = 128 if not law.smooth else 2
        feasible = np.argsort(scored[len(asked) :])[:count] + len(asked)
        starts = np.vstack([pool[feasible], asked[:1]]) if law.smooth else pool[feasible]
        optima.append(optimise(refit, own, constraints, starts=starts, num_candidates=0, num_refined=1).weights)
        values.append(scored)
        predictions.append(refit.predict(asked[:1])[0])
    return Bootstrap(np.array(optima), pool, np.array(values), np.array(predictions))


def _pool(table: MixtureTable, best: Float[np.ndarray, "m"], constraints: Constraints, seed: int) -> Weights:
    """Candidates everywhere, some of the runs' own mixtures, and more the nearer to `best`."""
    everywhere = sample_mixtures(constraints, POOL, seed)
    share = np.geomspace(0.01, 0.5, POOL // 2)[:, None]
    near = best + share * (everywhere[: POOL // 2] - best)
    return np.vstack([everywhere, near, constraints.project(table.weights[: POOL // 4])])


def warnings_of(
    law: Law,
    table: MixtureTable,
    weights: Float[np.ndarray, "m"],
    constraints: Constraints,
    held_out: HeldOut | None,
    resampled: Bootstrap | None,
) -> list[str]:
    """What a reader must know before training on `weights`, one sentence each."""
    warnings = []
    if bounds := constraints.on_bound(weights):
        warnings.append("on a bound: " + ", ".join(f"{domain} ({bound})" for domain, bound in bounds.items()))
    if len(table) < law.num_parameters:
        warnings.append(
            f"{len(table)} runs fit {law.num_parameters} parameters a target: the fit is decided by its starting point"
        )
    for name, places in law.unfinished.items():
        targets = ", ".join(table.targets[place] for place in places)
        warnings.append(
            f"fit of {name} had not converged after {curves.MAX_STEPS} steps for {targets}; "
            "its optimum may depend on the order of the runs"
        )
    if beyond := _outside(table, weights):
        warnings.append("outside the runs' range, so extrapolated: " + ", ".join(beyond))
    if held_out is not None and (poor := [t for t, r in zip(table.targets, held_out.spearman, strict=True) if r < 0.5]):
        warnings.append(f"held-out rank correlation below .5 for {', '.join(poor)}: the law does not predict them")
    if resampled is not None and (moved := resampled.distance(weights)) > 0.2:
        warnings.append(f"unstable optimum: other samples of the same runs would move {moved:.0%} of the data")
    return warnings


def _outside(table: MixtureTable, weights: Float[np.ndarray, "m"]) -> Sequence[str]:
    low, high = table.weights.min(axis=0), table.weights.max(axis=0)
    return [d for d, w, a, b in zip(table.domains, weights, low, high, strict=True) if w < a - 1e-3 or w > b + 1e-3]
