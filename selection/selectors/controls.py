"""DsDm, and cheap ways to choose that it has to beat at the same budget: the worst first, at random, by loss."""

from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from thresher.errors import InputError
from thresher.seeds import numpy_rng
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ranking import Ranking, by

BANDS = {"low": 0.0, "middle": 0.5, "high": 1.0}


class UnwrittenWord(str):
    """A word that is a default: it equals the word, and is told from one that a spec wrote."""


class UnwrittenNumber(float):
    """A number that is a default: it equals the number, and is told from one that a spec wrote."""


MIDDLE = cast(Any, UnwrittenWord("middle"))

Scorer = Literal[
    "given",
    "trak",
    "dual",
    "direction",
    "ekfac",
    "ekfac-cg",
    "ekfac+bm25",
    "metagradient",
    "adamw-influence",
    "trackstar",
    "grad-cosine",
    "embedding",
    "bm25",
    "random",
]


def dsdm(evidence: Evidence, *, scorer: Scorer = "given") -> Ranking:
    """Take the largest combined target score first (DsDm, 2401.12926), by the given scores or by another scorer's."""
    return by(evidence.combined(evidence.scores_by(scorer)))


def bottom(evidence: Evidence) -> Ranking:
    """Take the smallest combined target score first; if scores mean anything, this is worse than random data."""
    scores = evidence.combined(evidence["scores"])
    return Ranking(scores, -scores)


def random(evidence: Evidence) -> Ranking:
    """Take the examples in a random order, without scores; the draw is of places in the pool, whatever stands there."""
    keys = np.empty(len(evidence))
    keys[random_order(len(evidence), evidence.seed)] = -np.arange(len(evidence), dtype=np.float64)
    return Ranking(np.full(len(evidence), np.nan), keys)


def random_order(num_pool: int, seed: int) -> Int[np.ndarray, "n"]:
    """A uniformly random order of all positions; the smaller of two budgets with one seed lies inside the larger."""
    return numpy_rng(seed, "selection", "random").permutation(num_pool)


def gradient_norm(evidence: Evidence) -> Ranking:
    """Take the largest per-example gradient norm first: what is left of attribution when the target is ignored."""
    return by(evidence["gradient_norms"])


def gradient_cosine(evidence: Evidence) -> Ranking:
    """Take the largest mean cosine with the gradients of the targets first."""
    return by(evidence.combined(evidence["gradient_cosines"]))


def loss(
    evidence: Evidence,
    *,
    band: Literal["low", "middle", "high"] = MIDDLE,
    centre: float = UnwrittenNumber(BANDS["middle"]),
) -> Ranking:
    """Take the losses nearest to a quantile first, that of `band` or the given `centre`. Scores are the losses.

    Raises InputError for a band and a centre at different places, and for a `centre` outside [0, 1].
    """
    # Before the losses, which may be computed on being asked for.
    if isinstance(centre, UnwrittenNumber):
        centre = BANDS[band]
    elif not isinstance(band, UnwrittenWord) and BANDS[band] != centre:
        raise InputError(f"band={band} and centre={centre} are two places to keep losses around; pass one of them")
    _check_centre(centre)
    losses = by(evidence["loss"]).scores
    return Ranking(losses, closeness(losses, centre))


def closeness(losses: Float[np.ndarray, "n"], centre: float) -> Float[np.ndarray, "n"]:
    """Minus the distance of each loss's quantile to `centre`, so that the largest k are a band of quantiles around it.

    Quantiles are (rank - 1/2) / n, ties share their mean rank; of two that are equally far the lower counts as nearer.
    Loss and perplexity have the same quantiles (perplexity pruning, Marion et al. 2023, 2309.04564, keeps the middle).
    Raises InputError if `centre` lies outside [0, 1].
    """
    _check_centre(centre)
    quantiles = (rankdata(losses) - 0.5) / len(losses)
    return -np.abs(quantiles - centre) - 1e-9 * quantiles


def _check_centre(centre: float) -> None:
    if not 0 <= centre <= 1:
        raise InputError(f"centre={centre} is outside [0, 1]; pass the quantile of the losses to keep around")
