"""Of the names of classes, the tokens that tell them apart: what else a name holds follows from those, or is shared.

A model that has read "message" of "message board" knows that "board" follows. As one of two predicted tokens it would
say nothing of the class and yet hold half of the example's mean margin and gradient: with such names (two to four
tokens each, four classes of text) scores for a clean target ranked wrong labels as helpful, area under the curve .43,
and .60 with names of one token. See docs/label-noise.md.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import UInt32

from thresher.data.text.encoding import Encoded, Piece


def telling(encoded: Iterable[Encoded]) -> Iterator[Encoded]:
    """Documents whose right answer and choices go no further than tells them apart, and predict nothing before.

    A name that another one begins with ("very good" of "very good indeed") is kept whole.
    """
    for document, piece, choices in encoded:
        if not choices:
            yield Encoded(document, piece, choices)
            continue
        pieces = _telling(choices)
        yield Encoded(document, pieces[document.answer], pieces)


def _telling(choices: Sequence[Piece]) -> list[Piece]:
    shared = [[_shared(one.tokens, other.tokens) for other in choices if other is not one] for one in choices]
    common = min((min(counts) for counts in shared if counts), default=0)
    pieces = []
    for one, counts in zip(choices, shared, strict=True):
        if one.first >= len(one.tokens):  # nothing to predict, which is for others to say
            pieces.append(one)
            continue
        # Names that are the same tokens are no reason to go on to their end; they cannot be told apart by any.
        stop = min(max(max(counts, default=0) + 1, one.first + 1), len(one.tokens))
        first = min(max(one.first, common), stop - 1)
        pieces.append(Piece(one.tokens[:stop], first, one.breaks[:stop]))
    return pieces


def _shared(a: UInt32[np.ndarray, "s"], b: UInt32[np.ndarray, "t"]) -> int:
    """How many tokens both begin with."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length
