"""Texts that share rare words with the target."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from thresher.data.words import words_of
from thresher.errors import InputError
from thresher.selection.evidence import Evidence
from thresher.selection.ranking import Ranking, by


def bm25(evidence: Evidence) -> Ranking:
    """The largest mean BM25 (Robertson et al. 1994, by `bm25s`) first, over the target's texts as queries, each divided
    by its number of words."""
    texts = evidence["target_texts"]
    return by(evidence.combined(similarities(evidence["texts"], texts)))


def _words(text: str) -> list[str]:
    """Without single letters and digits, which say little; a character of Chinese is a word."""
    return [word for word in words_of(text) if len(word) > 1 or not word.isascii()]


def similarities(pool: Sequence[str], targets: dict[str, Sequence[str]]) -> dict[str, Float[np.ndarray, "n"]]:
    import bm25s

    index, corpus = bm25s.BM25(), [_words(text) for text in pool]
    if not any(corpus):
        raise InputError("no text of the pool has a word of two letters or more; BM25 has nothing to match by")
    index.index(cast(Any, corpus), show_progress=False)
    found = {}
    for name, texts in targets.items():
        total = np.zeros(len(pool))
        for words in map(_words, texts):
            if words:  # a query without a word has no score for anything
                total += index.get_scores(words) / len(words)
        found[name] = total / len(texts)
    return found
