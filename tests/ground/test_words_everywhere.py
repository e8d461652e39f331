"""Every method that compares texts by words sees the words of any script."""

import unicodedata

import numpy as np

from thresher.bm25 import BM25
from thresher.selection.selectors.duplicates import shingles
from thresher.selection.selectors.ngrams import hashed_ngrams
from thresher.words import words_and_signs_of

HINDI = ["किताब पानी दूध", "कातिब पुन दाध", "बिजली नदी पहाड़"]


def test_bm25_matches_whole_words_of_a_script_with_vowel_signs():
    assert np.flatnonzero(BM25(HINDI).scores("किताब")).tolist() == [0]
    assert np.flatnonzero(BM25(["我们喜欢喝茶", "今天下雨"]).scores("我们都喜欢")).tolist() == [0]
    assert BM25(["a b", "two words"]).scores("a").tolist() == [0, 0]


def test_ngrams_of_such_words_are_words_and_not_pieces_of_them():
    assert words_and_signs_of("किताब, पानी!") == ["किताब", ",", "पानी", "!"]
    rows = hashed_ngrams(HINDI, 2**16)
    assert rows.sum(axis=1).A1.tolist() == [5, 5, 5] and (rows[0].multiply(rows[1])).nnz == 0


def test_forms_of_one_text_have_the_same_words_everywhere():
    composed = "Straße café — naïve résumé of the CAFÉ" * 3
    other = unicodedata.normalize("NFD", composed).upper()
    assert words_and_signs_of(composed) == words_and_signs_of(other)
    assert shingles(composed, 5).tolist() == shingles(other, 5).tolist()
    assert (hashed_ngrams([composed], 4096) != hashed_ngrams([other], 4096)).nnz == 0


def test_texts_without_words_are_told_apart_by_their_signs():
    assert shingles("!!! ???", 5).tolist() != shingles("??? !!!", 5).tolist()
    assert words_and_signs_of("x += 1;") == ["x", "+=", "1", ";"]
