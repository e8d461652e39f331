"""What the last sketch costs these scores, told from the features alone: how far two halves of their numbers agree.

A sketch adds to every inner product an error that is independent from one number to the next. Scores from either half
of the k numbers, each with its own kernel, hold the same signal and errors of their own, so over the pool

    corr(half, half) = 1 / (1 + e),    corr(whole, exact) = 1 / sqrt(1 + e / 2),    e: error over signal of a half

(the split-half reliability of Spearman and Brown, 1910). It holds for the scores themselves, damping, weights, average
over checkpoints and averaging of targets included, where the error of raw inner products does not: the kernel takes
away the few directions that all examples share, and with them most of the signal. It says nothing of what was lost
before that sketch: by the sides of a two-sided projection, or by a mask.
"""

import logging
import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.features.store import FeatureStore, Shard
from thresher.attribution.scoring.kernel import Damping, Kernel, factorise, usual_damping

LEAST = 0.9
"""Correlation with the scores that no projection would give, below which a warning is due."""
PURE = ("sjlt", "normal", "rademacher")
"""Projections that are nothing but that sketch."""
HALVES = slice(0, None, 2), slice(1, None, 2)


class SplitHalf:
    """Gathers scores from both halves while a pool is scored."""

    def __init__(self, pool: FeatureStore, names: list[str], damping: Damping) -> None:
        self._pool, self._names, self._damping = pool, names, damping
        self._solved: list[list[Float[Tensor, "h t"]]] = [[], []]
        self._scores: list[list[Float[np.ndarray, "rows t"]]] = [[], []]

    def add_checkpoint(self, matrix: Float[Tensor, "k k"], kernel: Kernel, targets: Float[Tensor, "k t"]) -> None:
        """Take in a checkpoint's Gram matrix, the kernel made of it, and its targets."""
        for half, solved in zip(HALVES, self._solved, strict=True):
            own = matrix[half, half]
            multiple = kernel.damping / kernel.mean_diagonal
            if self._damping is None:
                multiple = usual_damping(len(own), self._pool.num_examples)
            solved.append(factorise(own, multiple * float(own.diagonal().mean())).solve(targets[half]))

    def merge(self, shards: list[Shard], weights: Float[np.ndarray, "rows"]) -> None:
        """Score the same rows of every checkpoint by either half."""
        for half, solved, scores in zip(HALVES, self._solved, self._scores, strict=True):
            parts = [
                shard.features[:, half].astype(np.float64) @ v.numpy() for shard, v in zip(shards, solved, strict=True)
            ]
            scores.append(np.mean(parts, axis=0) * weights[:, None])

    def agreement(self) -> dict[str, float]:
        """The correlation over the pool of each target's scores with those without the sketch, as estimated."""
        first, second = (np.concatenate(scores) for scores in self._scores)
        # A balanced sketch to as many numbers as there are loses nothing, though its halves differ.
        lost = 1 - self._pool.k / self._pool.artifact.facts.get("gradient_size", math.inf)
        return {
            name: agreement_of(first[:, column], second[:, column], lost=max(lost, 0.0))
            for column, name in enumerate(self._names)
        }


def agreement_of(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"], *, lost: float = 1.0) -> float:
    """corr(whole, exact) from scores by two halves; 0 where the halves have nothing in common.

    `lost`: the share of a sketch's error that is there, 1 - k / D; 1 for D far above k.
    """
    if lost == 0:
        return 1.0
    spreads = float(first.std() * second.std())
    shared = float(((first - first.mean()) * (second - second.mean())).mean()) / spreads if spreads else 1.0
    return 1 / math.sqrt(1 + lost * (1 / shared - 1) / 2) if shared > 0 else 0.0


def numbers_for(agreement: float, k: int, least: float = LEAST) -> int | None:
    """The power of two that k has to be for scores to agree to `least`; None where nothing can be told."""
    if agreement <= 0:
        return None
    needed = k * (agreement**-2 - 1) / (least**-2 - 1)
    return 2 ** math.ceil(math.log2(max(needed, 1)))


def warn_of_loss(agreement: dict[str, float], k: int) -> None:
    """Say in one line what the projection loses, where that is more than it should."""
    if not agreement or min(agreement.values()) >= LEAST:
        return
    name = min(agreement, key=lambda name: agreement[name])
    enough = numbers_for(agreement[name], k)
    advice = f"k = {enough:,} would reach {LEAST:g}" if enough else "these features hold next to nothing of them"
    logging.getLogger(__name__).warning(
        f"target {name!r}: scores from k = {k:,} numbers agree to about {agreement[name]:.2f} with those without "
        f"projection; {advice}, and --scorer direction, for a few targets, needs none"
    )
