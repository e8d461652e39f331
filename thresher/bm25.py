"""Okapi BM25 (Robertson et al. 1994, by `bm25s`): how much texts share rare words with a query."""

from collections.abc import Sequence

import bm25s
import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.words import words_of


class BM25:
    """An index over texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        words = [_words(text) for text in texts]
        if not any(words):
            raise InputError("no text of the pool has a word of two letters or more; BM25 has nothing to match by")
        self._num_texts, self._index = len(texts), bm25s.BM25()
        self._index.index(words, show_progress=False)

    def scores(self, query: str) -> Float[np.ndarray, "n"]:
        """The score of every text; 0 for a query without a word that the texts have."""
        words = _words(query)
        return np.asarray(self._index.get_scores(words), np.float64) if words else np.zeros(self._num_texts)


def num_words(query: str) -> int:
    """Words of a query that count."""
    return len(_words(query))


def _words(text: str) -> list[str]:
    """All words but single letters of the alphabet; a Chinese character is a word."""
    return [word for word in words_of(text) if len(word) > 1 or not word.isascii()]
