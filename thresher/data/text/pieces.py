"""Texts of any length through a tokenizer, with the place of every token.

Long texts go in overlapping pieces, joined where both pieces agree, so that the tokens are those of the whole text.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt32
from tokenizers import Encoding, Tokenizer

from thresher.data.text.byte_level import BytePlaces

# Longer texts go through the tokenizer in pieces of so many characters: on all cores, and in memory that does not grow
# with them.
PIECE = 2**16
# So many characters on either side of a cut belong to both pieces.
OVERLAP = 2**9
# Two pieces are joined in the middle of at least so many tokens that are the same in both, and at the same place. What
# a tokenizer does at an edge (a space before the text, half a word, half a group of digits) has ended there.
AGREED = 16
# The tokenizer is called with so many characters at a time: its own account of them takes some 100 bytes a token.
CALL_CHARACTERS = 2**21


class Placed(NamedTuple):
    """Tokens of a text and the characters [start, end) that each is made of."""

    ids: UInt32[np.ndarray, "t"]
    starts: Int[np.ndarray, "t"]
    ends: Int[np.ndarray, "t"]


def placed_tokens(texts: Sequence[str], tokenizer: Tokenizer, places: BytePlaces | None = None) -> list[Placed]:
    """The tokens of each text as `tokenizer` makes them of the whole of it, nothing added around it.

    `places` are the tokenizer's own, if it is byte-level: only for speed.
    """
    pieces = [pieces_of(text) for text in texts]
    parts = [text[start:end] for text, own in zip(texts, pieces, strict=True) for start, end in own]
    encoded = _encoded(parts, tokenizer, places)
    tokens = []
    for text, own in zip(texts, pieces, strict=True):
        whole = _joined([_shifted(next(encoded), start) for start, _ in own], own)
        # Nowhere the same on both sides of a cut, as in digits by threes that are counted from the first: all at once.
        tokens.append(whole if whole is not None else next(_encoded([text], tokenizer, places)))
    return tokens


def pieces_of(text: str) -> list[tuple[int, int]]:
    """Where the pieces of `text` start and end.

    Each has about PIECE characters, and OVERLAP of them on either side of a cut are shared with its neighbour.
    """
    cuts = range(PIECE, len(text) - PIECE // 2, PIECE)
    starts = [0, *(cut - OVERLAP for cut in cuts)]
    ends = [*(cut + OVERLAP for cut in cuts), len(text)]
    return list(zip(starts, ends, strict=True))


def _encoded(texts: Sequence[str], tokenizer: Tokenizer, places: BytePlaces | None) -> Iterator[Placed]:
    start = size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= CALL_CHARACTERS or number == len(texts) - 1:
            group = texts[start : number + 1]
            if places is None:
                yield from map(_placed, tokenizer.encode_batch(group, add_special_tokens=False))
            else:
                yield from _placed_by_bytes(group, tokenizer, places)
            start, size = number + 1, 0


def _placed_by_bytes(texts: Sequence[str], tokenizer: Tokenizer, places: BytePlaces) -> Iterator[Placed]:
    for text, encoding in zip(texts, tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        ids = _ids(encoding)
        edges = places(text, ids)
        if edges is None:
            yield _placed(tokenizer.encode(text, add_special_tokens=False))
        else:
            yield Placed(ids, edges[:, 0], edges[:, 1])


def _placed(encoding: Encoding) -> Placed:
    offsets = encoding.offsets
    edges = np.fromiter(chain.from_iterable(offsets), np.int64, 2 * len(offsets)).reshape(-1, 2)
    return Placed(_ids(encoding), edges[:, 0], edges[:, 1])


def _ids(encoding: Encoding) -> UInt32[np.ndarray, "t"]:
    ids = encoding.ids
    return np.fromiter(ids, np.uint32, len(ids))


def _shifted(tokens: Placed, by: int) -> Placed:
    return tokens._replace(starts=tokens.starts + by, ends=tokens.ends + by) if by else tokens


def _joined(pieces: Sequence[Placed], places: Sequence[tuple[int, int]]) -> Placed | None:
    """The pieces' tokens as one text's, each piece up to where it agrees with the next; None where two never do."""
    if len(pieces) == 1:
        return pieces[0]
    parts, first = [], 0
    for left, right, (shared, _) in zip(pieces, pieces[1:], places[1:], strict=False):
        meeting = _meeting(left, right, shared)
        if meeting is None or meeting[0] < first:
            return None
        parts.append(Placed(*(column[first : meeting[0]] for column in left)))
        first = meeting[1]
    parts.append(Placed(*(column[first:] for column in pieces[-1])))
    return Placed(*map(np.concatenate, zip(*parts, strict=True)))


def _meeting(left: Placed, right: Placed, start: int) -> tuple[int, int] | None:
    """Positions in both, in the middle of their longest run of equal tokens from character `start` on."""
    skipped = int(np.searchsorted(left.starts, start))
    ahead = int(np.searchsorted(right.starts, left.ends[-1])) if len(left.ids) else 0
    places = {place: number for number, place in enumerate(_rows(left, skipped, len(left.ids)), start=skipped)}
    best, run, before = (0, 0, 0), 0, -2
    for number, place in enumerate(_rows(right, 0, ahead)):
        there = places.get(place, -2)
        run = run + 1 if there == before + 1 and there >= 0 else int(there >= 0)
        before = there
        best = max(best, (run, there, number))
    length, *ends = best
    return None if length < AGREED else (ends[0] - length // 2, ends[1] - length // 2)


def _rows(tokens: Placed, start: int, stop: int) -> list[tuple[int, int, int]]:
    return list(zip(*(column[start:stop].tolist() for column in tokens), strict=True))
