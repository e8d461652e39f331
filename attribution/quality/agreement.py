"""Do two scorers find the same examples? Overlap of their most helpful ones, target by target."""

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError


def top_k(scores: Float[np.ndarray, "n t"], k: int) -> Int[np.ndarray, "k t"]:
    """Positions of the k largest scores of each target, largest first. Raises InputError unless 1 <= k <= n."""
    if not 1 <= k <= len(scores):
        raise InputError(f"top {k} of {len(scores)} examples; pass 1 to {len(scores)}")
    return np.argsort(-scores, axis=0, kind="stable")[:k]


def jaccard(first: Int[np.ndarray, "k t"], second: Int[np.ndarray, "k t"]) -> Float[np.ndarray, "t"]:
    """The Jaccard index |A and B| / |A or B| of each column, from distinct positions."""
    shared = np.array([len(np.intersect1d(a, b)) for a, b in zip(first.T, second.T, strict=True)])
    return shared / (2 * len(first) - shared)


def rank_biased_overlap(
    first: Int[np.ndarray, "k t"], second: Int[np.ndarray, "k t"], persistence: float = 0.98
) -> Float[np.ndarray, "t"]:
    """Rank-biased overlap of each column, extrapolated from the first k places (Webber et al. 2010, equation 32).

    RBO = X_k / k p^k + (1 - p) / p sum_{d=1}^{k} X_d / d p^d,   X_d = |first d of A and first d of B|

    It is 1 for equal orders and 0 for disjoint ones; with `persistence` p the first 1 / (1 - p) places count for most.
    """
    if not 0 < persistence < 1:
        raise InputError(f"persistence {persistence} is outside (0, 1); pass a number between them (0.98 is usual)")
    depths = np.arange(1, len(first) + 1)
    powers = persistence**depths
    overlaps = []
    for a, b in zip(first.T, second.T, strict=True):
        # The depth at which each shared item is in both.
        places = dict(zip(b.tolist(), depths.tolist(), strict=True))
        both = [max(d, places[item]) for d, item in zip(depths.tolist(), a.tolist(), strict=True) if item in places]
        shared = np.cumsum(np.bincount(both, minlength=len(depths) + 1)[1:])
        share = shared / depths
        overlaps.append(share[-1] * powers[-1] + (1 - persistence) / persistence * float(share @ powers))
    return np.array(overlaps)
