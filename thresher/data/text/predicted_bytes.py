"""How many bytes of text runs of tokens stand for: what makes losses comparable between tokenizers.

A byte-level tokenizer keeps every byte, so its tokens' own bytes are added up. Of any other tokenizer the text is read
again, and a token stands for what lies between the end of the token before it and its own: what the tokenizer leaves
out (the space between two words) belongs to the token after it, what it changes (case, forms of letters) counts as it
was written, and a character of several tokens is its first one's. Tokens that stand around a text have none of its
bytes.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, Integer
from tokenizers import Tokenizer

from thresher.data.text.as_text import TextReader
from thresher.data.text.byte_level import byte_places
from thresher.data.text.pieces import Placed
from thresher.data.token_files import Layout

Runs = Int[np.ndarray, "w 3"]
"""An example, and from which of its tokens to before which; in the order of the examples."""
BLOCK = 4096
"""Runs that are counted at once."""
UNKNOWN = 2**32
"""Bytes that no run has: of a token that does not say how many it stands for."""


def bytes_of_runs(
    runs: Runs,
    stream: Integer[np.ndarray, "t"],
    offsets: Int[np.ndarray, "n_plus_1"],
    layout: Layout,
    tokenizer: Tokenizer,
    texts: Callable[[Sequence[int]], list[str]],
) -> Int[np.ndarray, "w"] | None:
    """The UTF-8 bytes of the text that each run stands for.

    stream, offsets  the tokens of all examples, and where each example begins
    texts            the whole text of each of the examples that are asked for, a prompt and what follows it as one

    None where the tokens of some example are not found among those that the tokenizer makes of its text.
    """
    counted = _counted(runs, stream, offsets, layout, tokenizer)
    missing, reader = np.unique(runs[counted < 0, 0]), TextReader(tokenizer)
    for start in range(0, len(missing), BLOCK):
        members = missing[start : start + BLOCK].tolist()
        whole = texts(members)
        for example, text, placed in zip(members, whole, reader(whole), strict=True):
            own = slice(*np.searchsorted(runs[:, 0], [example, example + 1]))
            sizes = _read_again(runs[own, 1:], stream[offsets[example] : offsets[example + 1]], layout, text, placed)
            if sizes is None:
                return None
            counted[own] = sizes
    return counted


def _counted(
    runs: Runs,
    stream: Integer[np.ndarray, "t"],
    offsets: Int[np.ndarray, "n_plus_1"],
    layout: Layout,
    tokenizer: Tokenizer,
) -> Int[np.ndarray, "w"]:
    """The bytes of each run by those of its tokens; -1 where these do not say it."""
    places = byte_places(tokenizer)
    if places is None:
        return np.full(len(runs), -1)
    beyond = np.full(max(0, layout.vocab_size - len(places.sizes)), UNKNOWN)
    sizes = np.minimum(np.append(places.sizes, beyond), UNKNOWN)
    sizes[layout.end_token] = 0
    counted = np.zeros(len(runs), np.int64)
    for start in range(0, len(runs), BLOCK):
        part = runs[start : start + BLOCK]
        first, stop = (offsets[part[:, 0]] + part[:, side] for side in (1, 2))
        low = int(first.min())
        sums = np.concatenate([[0], np.cumsum(sizes[stream[low : int(stop.max())]])])
        counted[start : start + BLOCK] = sums[stop - low] - sums[first - low]
    return np.where(counted < UNKNOWN, counted, -1)


def _read_again(
    runs: Int[np.ndarray, "r 2"], tokens: Integer[np.ndarray, "t"], layout: Layout, text: str, placed: Placed
) -> Int[np.ndarray, "r"] | None:
    """The bytes of runs of one example's tokens, by the places of the tokens in its text."""
    begin = int(layout.begin_token is not None)
    own = tokens[begin : len(tokens) - layout.packed]
    start = _start_of(own, placed.ids)
    if start is None:
        return None
    ends = np.concatenate([[0], np.maximum.accumulate(placed.ends)]).astype(np.int64)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    widths = 1 + sum((codes >= least).astype(np.int64) for least in (0x80, 0x800, 0x10000))
    bytes_before = np.concatenate([[0], np.cumsum(widths)])
    edges = bytes_before[ends[np.clip(runs - begin, 0, len(own)) + start]]
    return edges[:, 1] - edges[:, 0]


def _start_of(tokens: Integer[np.ndarray, "s"], whole: Integer[np.ndarray, "t"]) -> int | None:
    """Where `tokens` stand in `whole`: at its end, if they do (a prompt loses its beginning), or as early as can be."""
    rest = len(whole) - len(tokens)
    starts = (rest, *range(rest)) if rest > 0 else (rest,)
    return next(
        (start for start in starts if start >= 0 and (whole[start : start + len(tokens)] == tokens).all()), None
    )
