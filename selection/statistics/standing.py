"""Which arm is best, with ties: a place is lost only to an arm that is better beyond doubt."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thresher.selection.statistics.comparison import paired


@dataclass(frozen=True)
class Standing:
    """One arm among all."""

    arm: str
    mean: float
    rank: int
    """1 + the number of arms whose paired difference to this one has a 95 % interval below 0. No correction is made
    for the number of comparisons."""


def standings(losses: Mapping[str, Mapping[int, float]]) -> list[Standing]:
    """Places by loss (lower is better), from arm -> seed -> loss; best mean first. Pairs the seeds two arms share."""
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
