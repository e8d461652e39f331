"""Of the names of classes only the tokens that tell them apart are predicted."""

import numpy as np

from thresher.data.text.documents import Document
from thresher.data.text.encoding import Encoded, Piece
from thresher.data.text.telling import telling

PROMPT = [7, 8]


def told(*names, answer=0, prompt=PROMPT):
    """The tokens each name is cut to, prompt included, and the first predicted one of each."""
    pieces = [Piece(np.array([*prompt, *name], np.uint32), len(prompt), np.ones(9, bool)) for name in names]
    document = Document("d", "", "text", "prompt", tuple(map(str, names)), answer)
    (made,) = telling([Encoded(document, pieces[answer], pieces)])
    assert made.piece is made.choices[answer]
    return [(own.tokens.tolist()[len(prompt) :], own.first - len(prompt)) for own in made.choices]


def test_a_name_ends_with_the_token_that_makes_it_the_only_one():
    assert told([1, 2, 3], [4, 5], [6], answer=1) == [([1], 0), ([4], 0), ([6], 0)]
    assert told([1, 2, 9], [1, 3, 9]) == [([1, 2], 1), ([1, 3], 1)]


def test_what_all_names_begin_with_is_given_and_what_only_some_do_is_predicted():
    assert told([1, 1, 2, 9], [1, 1, 3], [1, 4, 5]) == [([1, 1, 2], 1), ([1, 1, 3], 1), ([1, 4], 1)]


def test_a_name_that_another_one_begins_with_is_whole():
    assert told([1, 2], [1, 2, 3], [5]) == [([1, 2], 0), ([1, 2, 3], 0), ([5], 0)]


def test_names_that_cannot_be_told_apart_are_whole_and_predict_their_last_token():
    assert told([1, 2], [1, 2]) == [([1, 2], 1), ([1, 2], 1)]


def test_documents_without_choices_are_as_they_were():
    piece = Piece(np.array([1, 2, 3], np.uint32), 1, np.ones(3, bool))
    assert list(telling([one := Encoded(Document("d", "", "text"), piece, [])])) == [one]
