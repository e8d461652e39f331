"""Paired comparisons over training seeds: is one way to choose data better than another?

Runs with one seed share their initialisation and order of batches, so differences are taken seed by seed: what the seed
does to both runs cancels.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thresher.errors import InputError
from thresher.intervals import MeanInterval, paired

POOLED = "all tasks"


@dataclass(frozen=True)
class Measurement:
    """The held-out loss of one trained model on one task."""

    arm: str
    """How its training data was chosen."""
    seed: int
    task: str
    loss: float


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline on one task, or on the mean of all."""

    arm: str
    task: str
    """The task, or POOLED."""
    difference: MeanInterval
    """Loss of the arm minus loss of the baseline: below zero, the arm is better."""
    seeds: tuple[int, ...]
    """The seeds that both have."""


def compare_arms(runs: Iterable[Measurement], *, baseline: str) -> list[Comparison]:
    """Every other arm against `baseline`, for each task and, with several tasks, for their mean (task POOLED).

    The seeds that both arms have are paired. The pooled row takes, seed by seed, the mean over the tasks, so that its n
    is the number of seeds and not of runs. Arms and tasks keep the order in which they first appear.
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


def losses_of(runs: Iterable[Measurement]) -> dict[tuple[str, str], dict[int, float]]:
    """The loss of each seed, by arm and task. Raises InputError for a run that is there twice."""
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


@dataclass(frozen=True)
class Standing:
    """The place of one arm among all."""

    arm: str
    mean: float
    """Mean loss over its seeds."""
    rank: int
    """1 + the number of arms whose paired difference to this one has a 95 % interval below 0. No correction is made
    for the number of comparisons."""


def standings(losses: Mapping[str, Mapping[int, float]]) -> list[Standing]:
    """The place of every arm by loss, the best mean first. Any two arms are compared on the seeds that both have."""
    means = {arm: float(np.mean(list(by_seed.values()))) for arm, by_seed in losses.items()}
    return [
        Standing(arm, means[arm], 1 + sum(_beats(losses[other], losses[arm]) for other in losses if other != arm))
        for arm in sorted(losses, key=lambda arm: means[arm])
    ]


def _beats(ours: Mapping[int, float], theirs: Mapping[int, float]) -> bool:
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return False
    return paired(np.array([ours[s] for s in seeds]), np.array([theirs[s] for s in seeds])).high < 0
