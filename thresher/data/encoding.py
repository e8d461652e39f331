"""Documents through the tokenizer: in batches of bounded size, on all cores, while others are read and written."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from thresher.data.documents import Document

# A batch holds about so many characters: enough work for many cores, some 50 MB of memory while it is encoded.
BATCH_CHARACTERS = 2**20
BATCH_DOCUMENTS = 2048
# Longer texts go through the tokenizer in pieces: on all cores, and in memory that does not grow with them.
PIECE = 2**16
AHEAD = 2


class Piece(NamedTuple):
    """A prompt and what follows it as tokens, uint32 [t]."""

    tokens: np.ndarray
    first: int
    """So many tokens at the beginning are the prompt's."""
    breaks: np.ndarray
    """[t] of bool: a character begins with this token, so that a cut before it falls between characters."""


class Encoded(NamedTuple):
    """A document and its tokens, and those of each of its choices."""

    document: Document
    piece: Piece
    choices: list[Piece]


def encode(documents: Iterable[Document], tokenizer) -> Iterator[Encoded]:
    """`documents` with their tokens, in order; a prompt and what follows it are joined by a space.

    The tokenizer works in a thread of its own (it shares a batch among the cores and lets go of the interpreter), two
    batches ahead of who takes them.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as worker:
        waiting: list[Future[list[Encoded]]] = []
        try:
            for batch in _batches(documents):
                waiting.append(worker.submit(_encode, batch, tokenizer))
                if len(waiting) > AHEAD:
                    yield from waiting.pop(0).result()
            while waiting:
                yield from waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text) + len(document.prompt) + sum(map(len, document.choices))
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode(batch: Sequence[Document], tokenizer) -> list[Encoded]:
    texts: list[str] = []
    for document in batch:
        space = " " if document.prompt and not document.prompt[-1].isspace() else ""
        texts += [document.prompt, *(space + text for text in (document.text, *document.choices))]
    ids = iter(encode_texts(texts, tokenizer))

    def piece(prompt: np.ndarray, text: np.ndarray) -> Piece:
        return Piece(np.concatenate([prompt, text]), len(prompt), np.ones(len(prompt) + len(text), bool))

    encoded = []
    for one in batch:
        prompt = next(ids)
        encoded.append(Encoded(one, piece(prompt, next(ids)), [piece(prompt, next(ids)) for _ in one.choices]))
    return encoded


def joined(prompt: str, text: str) -> str:
    """A prompt and what follows it as one text: with a space between them where neither has white space there."""
    space = " " if prompt and not prompt[-1].isspace() else ""
    return prompt + space + text


def encode_texts(texts: Sequence[str], tokenizer) -> list[np.ndarray]:
    """The tokens of each text, uint32; those longer than PIECE in pieces."""
    pieces = [pieces_of(text) for text in texts]
    encoded = tokenizer.encode_batch_fast([piece for own in pieces for piece in own], add_special_tokens=False)
    tokens = [np.fromiter(ids := piece.ids, np.uint32, len(ids)) for piece in encoded]
    ends = list(accumulate(map(len, pieces)))
    return [
        tokens[end - 1] if len(own) == 1 else np.concatenate(tokens[end - len(own) : end])
        for own, end in zip(pieces, ends, strict=True)
    ]


def pieces_of(text: str) -> list[str]:
    """`text` cut into pieces of about PIECE characters, each cut before a lone space that stands between two words.

    Tokenizers that split words before their space, as byte-level ones do, make the same tokens of the pieces as of the
    whole. Where PIECE characters hold no such space, the cut falls where it falls.
    """
    pieces, start = [], 0
    while len(text) - start > PIECE:
        end = start + PIECE
        cut = text.rfind(" ", start + 1, end)
        while cut > start and not (text[cut - 1].isalnum() and text[cut + 1].isalnum()):
            cut = text.rfind(" ", start + 1, cut)
        pieces.append(text[start : cut if cut > start else end])
        start += len(pieces[-1])
    return [*pieces, text[start:]]
