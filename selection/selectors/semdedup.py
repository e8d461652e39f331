"""Semantic duplicates: SemDeDup (Abbas et al. 2023, 2303.09540) and D4 (Tirumala et al. 2023, 2308.12284)."""

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.seeds import derive
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.controls import UnwrittenNumber
from thresher.selection.selectors.ranking import Filtered, Ranking
from thresher.vectors import clusters as clusters_of
from thresher.vectors import directions

EPS = UnwrittenNumber(0.1)
# Rows of a cluster compared at once: with 20,000 members that is 160 MB of cosines.
ROWS = 2048


def semdedup(
    evidence: Evidence, alive: Int[np.ndarray, "m"], *, eps: float = EPS, keep: float = 1.0, clusters: int = 0
) -> Filtered:
    """Drop semantic duplicates: examples with a cosine above `1 - eps` to one farther from their cluster's centre.

    The embeddings are clustered by k-means into `clusters` (0: the root of the number of examples). Of a group of
    duplicates the one farthest from the centre, the least prototypical, stays. With `keep` below 1, eps is chosen such
    that this share stays, as in the paper, because cosines of different models do not compare. Scores are the largest
    such cosine, -1 for the farthest of a cluster. Raises InputError for numbers outside their ranges, and for a `keep`
    below 1 next to an `eps`.
    """
    if keep < 1 and not isinstance(eps, UnwrittenNumber):
        raise InputError(f"eps={eps} and keep={keep} are two ways to say how much is dropped; pass one of them")
    if not 0 < eps < 2:
        raise InputError(f"eps={eps} is outside (0, 2); pass how far 1 - cosine of duplicates may be, such as 0.1")
    if not 0 < keep <= 1:
        raise InputError(f"keep={keep} is outside (0, 1]; pass the share that stays, or 1 to drop by eps")
    order = evidence.by_id(alive)
    vectors = _directions(evidence, order)
    cosines = nearest_farther(vectors, *_clusters(vectors, clusters, evidence, "semdedup"))
    scores, stays = np.full(len(evidence), np.nan), np.zeros(len(evidence), dtype=bool)
    scores[order], stays[order] = cosines, cosines <= 1 - eps
    if keep < 1:
        stays[order] = False
        stays[order[_least(cosines, keep)]] = True
    return Filtered(scores, stays)


def d4(evidence: Evidence, alive: Int[np.ndarray, "m"], *, dedup: float = 0.75, clusters: int = 0) -> Ranking:
    """Drop semantic duplicates, cluster what is left again, and take the farthest from its cluster's centre first.

    SemDeDup leaves the share `dedup` (the paper's R_dedup). The most prototypical examples are taken last. Scores are
    1 - cosine with the centre. Raises InputError if `dedup` lies outside (0, 1].
    """
    if not 0 < dedup <= 1:
        raise InputError(f"dedup={dedup} is outside (0, 1]; pass the share that SemDeDup leaves, such as 0.75")
    order = evidence.by_id(alive)
    vectors = _directions(evidence, order)
    duplicated = nearest_farther(vectors, *_clusters(vectors, clusters, evidence, "d4"))
    left = _least(duplicated, dedup)
    cosines = _clusters(vectors[left], clusters, evidence, "d4", "again")[1]
    scores, keys = np.full(len(evidence), np.nan), np.full(len(evidence), -np.inf)
    scores[order[left]] = keys[order[left]] = 1 - cosines
    return Ranking(scores, keys)


def nearest_farther(
    vectors: Float[np.ndarray, "m d"], labels: Int[np.ndarray, "m"], cosines: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m"]:
    """The largest cosine of each vector with one of its cluster that is farther from the centre; -1 for the farthest.

    Among vectors that are equally far (exact copies) the earlier counts as farther.
    """
    largest = np.full(len(vectors), -1.0)
    order = np.lexsort((cosines, labels))
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        rows_of_cluster = vectors[members]
        for start in range(0, len(members), ROWS):
            rows = rows_of_cluster[start : start + ROWS] @ rows_of_cluster[: start + ROWS].T
            farther = np.tril(np.ones(rows.shape, dtype=bool), start - 1)
            largest[members[start : start + ROWS]] = np.where(farther, rows, -1.0).max(axis=1)
    return largest


def _least(cosines: Float[np.ndarray, "m"], share: float) -> Int[np.ndarray, "r"]:
    """The positions of the smallest `share` of `cosines`, in order."""
    return np.sort(np.argsort(cosines, kind="stable")[: max(1, round(share * len(cosines)))])


def _directions(evidence: Evidence, order: Int[np.ndarray, "m"]) -> Float[np.ndarray, "m d"]:
    rows = evidence["embeddings"]
    vectors = directions(rows[order], np.mean(rows, axis=0))
    at_the_mean = np.abs(vectors).max(axis=1) == 0
    if not at_the_mean.any():
        return vectors
    # They have no direction, and are copies of each other: one of their own.
    return np.ascontiguousarray(np.hstack([vectors, at_the_mean[:, None].astype(np.float32)]))


def _clusters(vectors: np.ndarray, num: int, evidence: Evidence, *names: str) -> tuple[np.ndarray, np.ndarray]:
    if num < 0:
        raise InputError(f"clusters={num} is no number of clusters; pass 1 or more, or 0 for the root of the pool")
    num = min(num or round(len(vectors) ** 0.5), len(vectors))
    return clusters_of(vectors, num, derive(evidence.seed, *names))
