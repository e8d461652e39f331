"""Cheap ways to choose, which a selection has to beat at the same budget.

Each returns the order in which it takes the pool: all n positions, first taken first.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.seeds import numpy_rng
from thresher.selection.combination import descending
from thresher.selection.evidence import Evidence
from thresher.selection.selectors import controls
from thresher.selection.selectors.ranking import Ranking, by

BANDS = {"low": 0.0, "middle": 0.5, "high": 1.0}


def random(num_pool: int, seed: int) -> Int[np.ndarray, "n"]:
    """A uniformly random order; the smaller of two budgets with one seed lies inside the larger."""
    return numpy_rng(seed, "selection", "random").permutation(num_pool)


def bottom(scores: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The least helpful first. If scores mean anything, training on these is worse than on random data."""
    return descending(-scores)


def gradient_norm(norms: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The largest per-example gradient norm first: what is left of attribution when the target is ignored."""
    return descending(norms)


def band(losses: Float[np.ndarray, "n"], centre: float) -> Float[np.ndarray, "n"]:
    """Minus the distance of each loss's quantile from `centre` in [0, 1]: the top k are a band of quantiles around it.

    Quantiles are (rank - 1/2) / n, ties their mean rank; of two equally far the lower is nearer. Loss and perplexity
    have the same quantiles (perplexity pruning: Marion et al. 2023, 2309.04564, who keep the middle).
    """
    from scipy.stats import rankdata

    if not 0 <= centre <= 1:
        raise InputError(f"centre={centre} is outside [0, 1]; pass the quantile of the losses to keep around")
    quantiles = (rankdata(losses) - 0.5) / len(losses)
    return -np.abs(quantiles - centre) - 1e-9 * quantiles


def _dsdm(evidence: Evidence) -> Ranking:
    return by(evidence.combined(evidence["scores"]))


def _bottom(evidence: Evidence) -> Ranking:
    scores = evidence.combined(evidence["scores"])
    return Ranking(scores, -scores)


def _random(evidence: Evidence) -> Ranking:
    keys = np.empty(len(evidence))
    keys[controls.random(len(evidence), evidence.seed)] = -np.arange(len(evidence), dtype=np.float64)
    return Ranking(np.full(len(evidence), np.nan), keys)


def _loss(evidence: Evidence, *, band: Literal["low", "middle", "high"] = "middle", centre: float = -1.0) -> Ranking:
    losses = by(evidence["loss"]).scores
    return Ranking(losses, controls.band(losses, controls.BANDS[band] if centre == -1.0 else centre))
