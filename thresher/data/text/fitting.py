"""From tokenised documents to examples: whole, with an end token, or fitted into one window; a begin token before."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt32

from thresher.data.sources.skipped import Skipped
from thresher.data.text.documents import Document
from thresher.data.text.encoding import Encoded, Piece

KEPT_WHOLE = 0.95
"""The share of rows that the suggested length would keep whole."""


class Tokens(NamedTuple):
    """The tokens of an example [t], of which those from `first` on are predicted, and where windows may begin."""

    ids: UInt32[np.ndarray, "t"]
    first: int
    breaks: Bool[np.ndarray, "t"] | None = None
    """Whether a character begins with each token; None: every token may begin a window."""


class Example(NamedTuple):
    """One example: a document, or the right choice of one, and all its choices."""

    document: Document
    tokens: Tokens
    choices: list[Tokens] = []  # noqa: RUF012 (never changed)


def whole_documents(encoded: Iterable[Encoded], end: int, skipped: Skipped) -> Iterator[Example]:
    """Documents of any length as examples, each with its end token; one without tokens is listed in `skipped`."""
    for document, piece, _ in encoded:
        if not len(piece.tokens):  # all of it is such as the tokenizer leaves out
            skipped.add("nothing to predict", id=document.id)
            continue
        ids, breaks = np.append(piece.tokens, np.uint32(end)), np.append(piece.breaks, True)
        yield Example(document, Tokens(ids, 0, breaks))


def fitted_rows(
    encoded: Iterable[Encoded], length: int, skipped: Skipped, cuts: "Cuts", *, has_begin: bool
) -> Iterator[Example]:
    """Prompts and what follows them as examples, each in one window of `length` tokens.

    What is shortened or has nothing to predict is listed in `skipped`, and `cuts` counts how much was cut. `has_begin`:
    a begin token will stand before them, so that a first token can be predicted.
    """
    for document, piece, choices in encoded:
        tokens = _fitted(piece, length, room=length)
        if len(tokens.ids) <= max(tokens.first, not has_begin):
            skipped.add("nothing to predict", id=document.id)
            continue
        # All choices after the same prompt: as much of its end as the longest of them leaves room for.
        room = max(length - max((len(own.tokens) - own.first for own in choices), default=0), 1)
        cuts.add([piece, *choices])
        if max(len(own.tokens) for own in [piece, *choices]) > length:
            skipped.add("shortened", id=document.id)
        yield Example(document, tokens, [_fitted(own, length, room) for own in choices])


def _fitted(piece: Piece, length: int, room: int) -> Tokens:
    """At most `length` tokens, cut between characters.

    Of the prompt these are the last `room` at most, then of what is predicted as much as fits behind one token of it.
    """
    start, stop = max(piece.first - room, 0), len(piece.tokens)
    most = length - min(piece.first, 1)
    if stop - piece.first > most:
        stop = piece.first + most
        while stop > piece.first + 1 and not piece.breaks[stop]:
            stop -= 1
    start = max(start, stop - length)
    while 0 < start < piece.first and not piece.breaks[start]:
        start += 1
    return Tokens(piece.tokens[start:stop], piece.first - start)


def begun(rows: Iterable[Example], begin: int | None) -> Iterator[Example]:
    """The examples with the token `begin`, which is not predicted, before them.

    If it is None, the first token of an example without a prompt is what the others are predicted from.
    """
    for row in rows:
        choices = [_begun(choice, begin) for choice in row.choices]
        yield row._replace(tokens=_begun(row.tokens, begin), choices=choices)


def _begun(tokens: Tokens, begin: int | None) -> Tokens:
    if begin is None:
        return tokens._replace(first=max(tokens.first, 1))
    breaks = None if tokens.breaks is None else np.concatenate([[True], tokens.breaks])
    ids = np.concatenate([np.array([begin], dtype=tokens.ids.dtype), tokens.ids])
    return Tokens(ids, tokens.first + 1, breaks)


class Cuts:
    """How many rows are longer than the room for them in a window, where `beside` more tokens stand, by how much."""

    def __init__(self, room: int, beside: int = 0) -> None:
        self.room, self.beside, self.lengths, self.cut, self.total = room, beside, Counter[int](), 0, 0

    def add(self, pieces: list[Piece]) -> None:
        """Count a row: what follows the prompt, in each of its forms, the right one first."""
        self.lengths[max(len(piece.tokens) for piece in pieces)] += 1
        self.total += len(pieces[0].tokens)
        self.cut += max(len(pieces[0].tokens) - self.room, 0)

    def facts(self) -> dict[str, float | int]:
        """What was cut, for the fact `cut` of an artefact.

        `num_rows` that were cut and their `share`, `num_tokens` cut off the examples and their `share_of_tokens`, and
        `length_for_95_percent`, the sequence length (a multiple of 8) that keeps 95 % of the rows whole.
        """
        rows = sum(self.lengths.values())
        longer = sum(count for length, count in self.lengths.items() if length > self.room)
        seen, enough = 0, self.room
        for length, count in sorted(self.lengths.items()):
            seen, enough = seen + count, length
            if seen >= KEPT_WHOLE * rows:
                break
        return {
            "num_rows": longer,
            "share": longer / max(rows, 1),
            "num_tokens": self.cut,
            "share_of_tokens": self.cut / max(self.total, 1),
            "length_for_95_percent": -(-(enough + self.beside) // 8) * 8,
        }
