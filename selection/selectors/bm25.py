"""Select the texts that share rare words with the target."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from thresher.bm25 import BM25, num_words
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ranking import Ranking, by


def bm25(evidence: Evidence) -> Ranking:
    """Take the largest mean BM25 score first, with the target's texts as queries (Robertson et al. 1994, `bm25s`)."""
    texts = evidence["target_texts"]
    return by(evidence.combined(similarities(evidence["texts"], texts)))


def similarities(pool: Sequence[str], targets: dict[str, Sequence[str]]) -> dict[str, Float[np.ndarray, "n"]]:
    """The mean BM25 score of each pool text by target, each query's score divided by its number of words."""
    index = BM25(pool)
    return {
        name: sum((index.scores(text) / max(num_words(text), 1) for text in texts), np.zeros(len(pool))) / len(texts)
        for name, texts in targets.items()
    }
