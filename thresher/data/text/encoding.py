"""Documents through the tokenizer: in batches of bounded size, on all cores, while others are read and written.

A prompt and what follows it are one text to the tokenizer, and its tokens are told apart by the characters they are
made of (`Piece`).
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt32
from tokenizers import Tokenizer

from thresher.data.sources.skipped import BadRows
from thresher.data.text.as_text import TextReader, character_begins
from thresher.data.text.documents import Document, as_one_text
from thresher.data.text.pieces import Placed

# A batch holds about so many characters: enough work for many cores, some 50 MB of memory while it is encoded.
BATCH_CHARACTERS = 2**20
BATCH_DOCUMENTS = 2048
AHEAD = 2
UNKNOWN = "characters that the tokenizer does not know"


class Piece(NamedTuple):
    """A prompt and what follows it as the tokens of one text.

    A token belongs to the prompt if all its characters do. One that holds a character of what follows, even if it
    begins in the prompt, is predicted: nothing of what follows is given away. The space that joins both belongs to what
    follows, and so do spaces that the prompt ends in (as in lm-evaluation-harness): a prompt with a space at its end is
    the same example as one without. Other white space at its end, such as a line break, is the prompt's.
    """

    tokens: UInt32[np.ndarray, "t"]
    first: int
    """So many tokens at the beginning are the prompt's."""
    breaks: Bool[np.ndarray, "t"]
    """A character begins with this token, so that a cut before it falls between characters."""


class Encoded(NamedTuple):
    """A document and its tokens, and those of each of its choices."""

    document: Document
    piece: Piece
    choices: list[Piece]


def encode(
    documents: Iterable[Document], tokenizer: Tokenizer, bad: BadRows | None = None, *, limit: int | None = None
) -> Iterator[Encoded]:
    """`documents` with their tokens, in order.

    The tokenizer works in a thread of its own (it shares a batch among the cores and lets go of the interpreter), two
    batches ahead of who takes them. The text of a special token stays text; where the tokenizer cannot do that, `bad`
    decides what becomes of the document (None: refused). A document with characters that the tokenizer does not know is
    kept, and listed. Whoever takes only `limit` says so: then nothing is read that could be left, so that what is said
    of the source is said of the part that was taken.
    """
    bad, reader = bad or BadRows(), TextReader(tokenizer)
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as worker:
        waiting: list[Future[list[_Made]]] = []
        batches, read, is_more = _batches(documents, limit), 0, True
        try:
            while is_more or waiting:
                ahead = AHEAD if limit is None or read < limit else 0
                while len(waiting) > ahead or (waiting and not is_more):
                    yield from _usable(waiting.pop(0).result(), bad)
                batch = next(batches, [])
                is_more, read = bool(batch), read + len(batch)
                if batch:
                    waiting.append(worker.submit(_encode, batch, reader))
        finally:
            for future in waiting:
                future.cancel()


def _batches(documents: Iterable[Document], limit: int | None) -> Iterator[list[Document]]:
    """The documents in batches; from the one on that completes `limit`, each alone."""
    batch: list[Document] = []
    size = 0
    for number, document in enumerate(documents, start=1):
        batch.append(document)
        size += sum(map(len, _texts_of(document)))
        is_last = limit is not None and number >= limit
        if is_last or size >= BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _texts_of(document: Document) -> list[str]:
    """Everything of a document that is tokenised: it as a whole, and its prompt with each of its choices."""
    if not document.choices:
        return [as_one_text(document.prompt, document.text)]
    choices = [as_one_text(document.prompt, choice) for choice in document.choices]
    return [choices[document.answer], *choices]


class _Made(NamedTuple):
    """What the tokenizer made of a document, and what is to be said of it."""

    encoded: Encoded
    special: str | None
    loses_some: bool


def _encode(batch: Sequence[Document], reader: TextReader) -> list[_Made]:
    texts = list(dict.fromkeys(text for document in batch for text in _texts_of(document)))
    placed = dict(zip(texts, reader(texts), strict=True))

    def made(document: Document) -> _Made:
        own = {text: placed[text] for text in _texts_of(document)}
        pieces = [_piece(document.prompt, text, placed[text]) for text in _texts_of(document)]
        special = next(filter(None, map(reader.special_among, own.values())), None)
        loses_some = any(reader.loses_some(text, tokens) for text, tokens in own.items())
        return _Made(Encoded(document, pieces[0], pieces[1:]), special, loses_some)

    return [made(document) for document in batch]


def _usable(made: Sequence[_Made], bad: BadRows) -> Iterator[Encoded]:
    """The documents whose text stays text; those that lose characters are listed as well."""
    for encoded, special, loses_some in made:
        document = encoded.document
        if special is not None:
            reason = f"its text becomes the token {special}"
            message = f"document {document.id!r}: {reason}, this tokenizer cannot write it as text; take it out there"
            bad(reason, message, file="", id=document.id)
            continue
        if loses_some:
            bad.skipped.add(UNKNOWN, id=document.id)
        yield encoded


def _piece(prompt: str, text: str, tokens: Placed) -> Piece:
    given = len(prompt.rstrip(" "))
    first = int(np.searchsorted(np.maximum.accumulate(tokens.ends), given, side="right")) if given else 0
    return Piece(tokens.ids, first, character_begins(text, tokens))
