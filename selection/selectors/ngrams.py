"""Texts as counts of hashed words and pairs of words: the features of DSIR and the classifier."""

from collections.abc import Sequence
from typing import Any

from scipy.sparse import csr_matrix

from thresher.words import words_and_signs_of


def hashed_ngrams(texts: Sequence[str], buckets: int, *, unit_rows: bool = False) -> csr_matrix:
    """Counts [n, buckets] of words, runs of punctuation and pairs of them, each hashed to a bucket (murmur3).

    With `unit_rows`, each row is scaled to Euclidean length 1.
    """
    from sklearn.feature_extraction.text import HashingVectorizer  # half a second, see the classifier

    options: dict[str, Any] = {"norm": "l2" if unit_rows else None, "token_pattern": None}
    counted = HashingVectorizer(
        n_features=buckets,
        ngram_range=(1, 2),
        tokenizer=words_and_signs_of,
        lowercase=False,
        alternate_sign=False,
        **options,
    ).transform(texts)
    return csr_matrix(counted)
