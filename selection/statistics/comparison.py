"""Is one way to choose data better than another? Paired comparisons over training seeds.

Runs with one seed share their initialisation and order of batches, so differences are taken seed by seed: what the seed
does to both runs cancels.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from thresher.errors import InputError

POOLED = "all tasks"


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % Student t interval."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def includes_zero(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Run:
    """The held-out loss of one trained model on one task."""

    arm: str
    """How its training data was chosen."""
    seed: int
    task: str
    loss: float


@dataclass(frozen=True)
class Comparison:
    """Loss of `arm` minus loss of the baseline: below zero, the arm is better."""

    arm: str
    task: str
    difference: Interval
    seeds: tuple[int, ...]


def interval(values: Float[np.ndarray, "s"]) -> Interval:
    """mean +- t_{s-1} sd / sqrt(s), t the 97.5 % quantile. Raises InputError for under 2 values or one not finite."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n < 2:
        raise InputError(f"an interval needs at least 2 seeds, {n} given; train with more seeds")
    if not np.isfinite(values).all():
        raise InputError(f"{values.tolist()} are not all finite; leave out the runs that diverged, and say so")
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired(a: Float[np.ndarray, "s"], b: Float[np.ndarray, "s"]) -> Interval:
    """The interval of a - b, where a[i] and b[i] have the same seed."""
    if len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} values cannot be paired; give one value a seed on both sides")
    return interval(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))


def compare_arms(runs: Iterable[Run], *, baseline: str) -> list[Comparison]:
    """Every other arm against `baseline`, for each task and, with several tasks, for their mean (task POOLED).

    Pairs the seeds that both arms have; the pooled row takes, seed by seed, the mean over the tasks, so its n is the
    number of seeds and not of runs. Arms and tasks keep the order in which they first appear.
    Raises InputError for an unknown baseline, a repeated run, or fewer than 2 common seeds.
    """
    losses = losses_of(runs)
    arms = list(dict.fromkeys(arm for arm, _ in losses))
    tasks = list(dict.fromkeys(task for _, task in losses))
    if baseline not in arms:
        raise InputError(f"baseline {baseline!r} has no runs; pass one of: {', '.join(arms)}")
    rows = []
    for arm in arms:
        if arm == baseline:
            continue
        rows += [_compare(losses, arm, baseline, [task], task) for task in tasks if (arm, task) in losses]
        if len(tasks) > 1:
            rows.append(_compare(losses, arm, baseline, tasks, POOLED))
    return rows


def losses_of(runs: Iterable[Run]) -> dict[tuple[str, str], dict[int, float]]:
    """(arm, task) -> seed -> loss."""
    losses: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for run in runs:
        if run.seed in losses[run.arm, run.task]:
            raise InputError(
                f"arm {run.arm!r}, seed {run.seed}, task {run.task!r} is there twice; keep one run of each"
            )
        losses[run.arm, run.task][run.seed] = run.loss
    return dict(losses)


def _compare(losses: dict, arm: str, baseline: str, tasks: Sequence[str], name: str) -> Comparison:
    ours, theirs = ([losses.get((which, task), {}) for task in tasks] for which in (arm, baseline))
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in ours + theirs)))
    if len(seeds) < 2:
        raise InputError(
            f"{arm!r} and {baseline!r} share {len(seeds)} seeds on {name}, an interval needs 2; train with more seeds"
        )
    a, b = (np.array([[by_seed[seed] for seed in seeds] for by_seed in side]).mean(axis=0) for side in (ours, theirs))
    return Comparison(arm, name, paired(a, b), tuple(seeds))
