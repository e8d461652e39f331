"""Select by DSIR: resample the pool by importance weights of hashed n-grams (Xie et al. 2023, 2302.03169)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix

from thresher.errors import InputError
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ngrams import hashed_ngrams
from thresher.selection.selectors.ranking import Ranking
from thresher.selection.selectors.sampling import gumbel


def dsir(evidence: Evidence, *, buckets: int = 10_000, temperature: float = 1.0) -> Ranking:
    """Take the largest log w + T * Gumbel first; several targets are mixed by their weights.

    T = 1 is the paper's draw without replacement in proportion to w; T = 0 takes the largest weights. Scores are log w.
    Raises InputError for fewer than 2 buckets and a temperature below 0.
    """
    if buckets < 2:
        raise InputError(f"buckets={buckets} tells nothing apart; pass 2 or more (the paper: 10000)")
    if not 0 <= temperature < np.inf:
        raise InputError(f"temperature={temperature} must be 0 or more; the paper's draw is 1")
    texts = evidence["target_texts"]
    weights = log_weights(evidence["texts"], texts, evidence.shares(texts), buckets)
    return Ranking(weights, weights + temperature * gumbel(evidence, "dsir") if temperature else weights)


def log_weights(
    pool: Sequence[str], targets: dict[str, Sequence[str]], shares: dict[str, float], buckets: int
) -> Float[np.ndarray, "n"]:
    """The log importance weights, log w(z) = sum_j c_j(z) (log p_j - log q_j), with c the n-gram counts of z.

    q is the distribution of the pool's n-grams over `buckets`, p the mean of the targets' by `shares`, each with one
    count added to every bucket. (The paper's code adds 1e-8 to each probability, so that one n-gram that a small target
    lacks outvotes the rest.) As in the paper, the sum is not divided by the length.
    """
    counts = hashed_ngrams(pool, buckets)
    p = sum(share * _distribution(hashed_ngrams(targets[name], buckets)) for name, share in shares.items())
    return np.asarray(counts @ (np.log(p) - np.log(_distribution(counts))))


def _distribution(counts: csr_matrix) -> Float[np.ndarray, "b"]:
    total = np.asarray(counts.sum(axis=0)).ravel() + 1.0
    return total / total.sum()
