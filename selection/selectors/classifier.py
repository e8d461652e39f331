"""Select by a classifier of target against pool, like GPT-3's quality filter (Brown et al. 2020, 2005.14165)."""

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix, vstack

from thresher.errors import InputError
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ngrams import hashed_ngrams
from thresher.selection.selectors.ranking import Ranking, by


def classifier(evidence: Evidence, *, negatives: float = 4.0, buckets: int = 2**18, strength: float = 1.0) -> Ranking:
    """Take the largest log-odds of being target first, by logistic regression on hashed n-grams.

    Negatives are random pool examples, `negatives` for each target example. The pool is cut at random into halves, and
    each half is judged by a classifier with negatives from the other, so that no example is judged by a classifier that
    it was a negative of. `strength` is scikit-learn's C; both classes count the same. Raises InputError for numbers
    that are too small and a pool of fewer than 4.
    """
    if not negatives > 0:
        raise InputError(f"negatives={negatives} is too small; pass how many a target example, above 0 (4 is usual)")
    if not strength > 0:
        raise InputError(f"strength={strength} is too small; pass scikit-learn's C, above 0 (1 is usual)")
    if buckets < 2:
        raise InputError(f"buckets={buckets} tells nothing apart; pass 2 or more (262144 is usual)")
    if len(evidence) < 4:
        raise InputError(f"a pool of {len(evidence)} is too small for a classifier; give at least 4 examples")
    pool = hashed_ngrams(evidence["texts"], buckets, unit_rows=True)
    halves = np.array_split(evidence.canonical[evidence.rng("classifier").permutation(len(evidence))], 2)
    texts = evidence["target_texts"]
    return by(
        evidence.combined(
            {
                name: _log_odds(pool, hashed_ngrams(target_texts, buckets, unit_rows=True), halves, negatives, strength)
                for name, target_texts in texts.items()
            }
        )
    )


def _log_odds(
    pool: csr_matrix, target: csr_matrix, halves: list[np.ndarray], negatives: float, strength: float
) -> Float[np.ndarray, "n"]:
    from sklearn.linear_model import LogisticRegression  # half a second: methods are looked at before anything is done

    log_odds = np.empty(pool.get_shape()[0])
    for judged, other in (halves, halves[::-1]):
        against = other[: max(1, round(negatives * target.get_shape()[0]))]
        rows = csr_matrix(vstack([target, pool[against]]))
        used = np.unique(rows.indices)  # an n-gram in no row has the weight 0
        is_target = np.arange(target.get_shape()[0] + len(against)) < target.get_shape()[0]
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=200, tol=1e-3)
        log_odds[judged] = model.fit(rows[:, used], is_target).decision_function(pool[judged][:, used])
    return log_odds
