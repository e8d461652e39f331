"""Text into token examples: whole documents that a model reads in windows, or prompts with their continuations."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thresher.artifacts import Artifact, Draft, build
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.text.begin_token import begun
from thresher.data.text.documents import Document
from thresher.data.text.encoding import Encoded, Piece, encode
from thresher.data.text.telling import telling
from thresher.data.text.tokenizer import begin_token, open_tokenizer, vocab_size_of
from thresher.data.token_files import Layout, TokenWriter
from thresher.data.writers import ChoicesTable, DocumentsTable, ExamplesTable, chunks
from thresher.errors import InputError
from thresher.progress import SILENT, Progress, track

KEPT_WHOLE = 0.95
"""The share of rows that the suggested length would keep whole."""


class Tokens(NamedTuple):
    """The tokens of an example [t], of which those from `first` on are predicted, and where windows may begin."""

    ids: np.ndarray
    first: int
    breaks: np.ndarray | None = None
    """[t] of bool: a character begins with this token; None: every token may begin a window."""


class Example(NamedTuple):
    """One example: a document, or the right choice of one, and all its choices."""

    document: Document
    tokens: Tokens
    choices: list[Tokens] = []  # noqa: RUF012 (never changed)


def check_shape(sequence_length: int, limit: int | None) -> None:
    """Refuses a length or a limit that leaves nothing to learn from."""
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps nothing; pass 1 or more, or none")
    if sequence_length < 2:
        raise InputError(f"sequence_length={sequence_length} leaves nothing to predict; pass at least 2")


def prepare_text(
    documents: Callable[[Skipped], Iterable[Document]],
    *,
    out: Path,
    tokenizer: str | Path,
    sequence_length: int,
    pack: bool,
    config: Mapping,
    inputs: Mapping[str, str],
    choices: bool = False,
    classes: bool = False,
    bad_rows: str = "refuse",
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Artifact:
    """Tokenise `documents` into an artefact of kind `text-examples`, one example a document, in one pass and bounded
    memory.

    With `pack` a document of any length is kept whole, an end token after it: a model reads it in windows of at most
    `sequence_length` tokens, of like length and cut between characters, and training packs documents behind each other.
    Without it an example is a prompt, not predicted, and its continuation, in one window: one too long loses the
    beginning of its prompt, then its end; how many did, and by how much, is the fact `cut`.
    `choices` says that the documents have some: an example is the right one, and all of them lie beside the examples.
    `classes` says that these are the names of classes: only the tokens that tell them apart are predicted (`telling`).
    `bad_rows` says what becomes of a document that the tokenizer cannot write as text (see `Skipped`).
    `limit` keeps the first so many examples. `documents` is called with the list of what it leaves out, which becomes
    `skipped.parquet`.
    """
    check_shape(sequence_length, limit)
    encoder, end, tokenizer_hash = open_tokenizer(tokenizer)
    vocab_size, begin = vocab_size_of(encoder), begin_token(tokenizer)
    room = sequence_length - (begin is not None)
    tokens = {"end_token": end, "begin_token": begin, "vocab_size": vocab_size}
    layout = Layout(sequence_length=sequence_length, packed=pack, **tokens)

    def write(draft: Draft) -> Mapping:
        with ExitStack() as files:
            skipped = files.enter_context(Skipped(files.enter_context(draft.file("skipped.parquet"))))
            encoded = encode(documents(skipped), encoder, BadRows(bad_rows, skipped))
            cuts = _Cuts(room)
            if pack:
                rows = _whole(encoded, end, skipped)
            else:
                rows = _fitted_rows(telling(encoded) if classes else encoded, room, skipped, cuts)
            rows = begun(rows, begin, is_given=not pack)
            rows = track(rows, "tokenise", limit, progress)
            facts = _write_examples(draft, files, rows, limit, layout, choices)
            if facts["num_examples"] == 0:
                found = ", ".join(f"{count} {reason}" for reason, count in skipped.counts.items())
                raise InputError(
                    f"no examples to prepare for {out}: this part of the source is empty or all blank"
                    f"{f' ({found})' if found else ''}; give more"
                )
        layout.save(draft)
        with draft.file("tokenizer.json") as file:
            encoder.save(str(file))
        cut = {} if pack else {"cut": cuts.facts()}
        facts |= {"vocab_size": vocab_size, "end_token": encoder.id_to_token(end)}
        facts |= {} if begin is None else {"begin_token": encoder.id_to_token(begin)}
        return {**facts, **cut, "skipped": dict(skipped.counts)}

    request = {**config, "pack": pack, "sequence_length": sequence_length, "limit": limit}
    request |= {} if begin is None else {"begin_token": begin}
    request |= {"classes": True} if classes else {}
    return build(
        out,
        kind="text-examples",
        config=request,
        seed=seed,
        inputs={**inputs, "tokenizer": tokenizer_hash},
        write=write,
    )


def _write_examples(
    draft: Draft, files: ExitStack, rows: Iterable[Example], limit: int | None, layout: Layout, choices: bool
) -> dict[str, Any]:
    tokens = files.enter_context(TokenWriter(draft, layout))
    table = files.enter_context(ExamplesTable(files.enter_context(draft.file("examples.parquet")), documents=True))
    written = files.enter_context(DocumentsTable(files.enter_context(draft.file("documents.parquet"))))
    if choices:
        choice_tokens = files.enter_context(TokenWriter(draft, layout, prefix="choice_"))
        choice_table = files.enter_context(ChoicesTable(files.enter_context(draft.file("choices.parquet"))))
    for block in chunks(rows, 1024, limit):
        before = tokens.num_examples
        for row in block:
            tokens.append(row.tokens.ids, row.tokens.first, row.tokens.breaks)
        own = [row.document for row in block]
        table.append([one.id for one in own], [one.domain for one in own], [[one.id] for one in own])
        written.append([(one.prompt, one.text, json.dumps(one.columns)) for one in own])
        if choices:
            for row in block:
                for choice in row.choices:
                    choice_tokens.append(choice.ids, choice.first)
            choice_table.append([(before + n, len(row.choices), row.document.answer) for n, row in enumerate(block)])
    return tokens.facts()


def _whole(encoded: Iterable[Encoded], end: int, skipped: Skipped) -> Iterator[Example]:
    """Documents of any length, each with its end token."""
    for document, piece, _ in encoded:
        if not len(piece.tokens):  # all of it is such as the tokenizer leaves out
            skipped.add("nothing to predict", id=document.id)
            continue
        ids, breaks = np.append(piece.tokens, np.uint32(end)), np.append(piece.breaks, True)
        yield Example(document, Tokens(ids, 1, breaks))


def _fitted_rows(encoded: Iterable[Encoded], length: int, skipped: Skipped, cuts: "_Cuts") -> Iterator[Example]:
    """Prompts and what follows them, each in one window of `length` tokens."""
    for document, piece, choices in encoded:
        tokens = _fitted(piece, length, room=length)
        if len(tokens.ids) <= tokens.first:
            skipped.add("nothing to predict", id=document.id)
            continue
        # All choices after the same prompt: as much of its end as the longest of them leaves room for.
        room = max(length - max((len(own.tokens) - own.first for own in choices), default=0), 1)
        cuts.add([piece, *choices])
        if max(len(own.tokens) for own in [piece, *choices]) > length:
            skipped.add("shortened", id=document.id)
        yield Example(document, tokens, [_fitted(own, length, room) for own in choices])


def _fitted(piece: Piece, length: int, room: int) -> Tokens:
    """At most `length` tokens, cut between characters: of the prompt the last `room` at most, then of what is
    predicted the first `length - 1`."""
    start, stop = max(piece.first - room, 0), len(piece.tokens)
    if stop - piece.first > length - 1:
        stop = piece.first + length - 1
        while stop > piece.first + 1 and not piece.breaks[stop]:
            stop -= 1
    start = max(start, stop - length)
    while 0 < start < piece.first and not piece.breaks[start]:
        start += 1
    return Tokens(piece.tokens[start:stop], max(piece.first - start, 1))


class _Cuts:
    """How many rows are longer than a window, and by how much."""

    def __init__(self, length: int) -> None:
        self.length, self.lengths, self.cut, self.total = length, Counter[int](), 0, 0

    def add(self, pieces: list[Piece]) -> None:
        """A row: what follows the prompt, in each of its forms."""
        self.lengths[max(len(piece.tokens) for piece in pieces)] += 1
        self.total += len(pieces[0].tokens)
        self.cut += max(len(pieces[0].tokens) - self.length, 0)

    def facts(self) -> dict[str, float]:
        """`num_rows` that were cut and their `share`, `num_tokens` cut off the examples and their `share_of_tokens`,
        and the `sequence_length` (a multiple of 8) that keeps 95 % of the rows whole."""
        rows = sum(self.lengths.values())
        longer = sum(count for length, count in self.lengths.items() if length > self.length)
        seen, enough = 0, self.length
        for length, count in sorted(self.lengths.items()):
            seen, enough = seen + count, length
            if seen >= KEPT_WHOLE * rows:
                break
        return {
            "num_rows": longer,
            "share": longer / max(rows, 1),
            "num_tokens": self.cut,
            "share_of_tokens": self.cut / max(self.total, 1),
            "length_for_95_percent": -(-enough // 8) * 8,
        }
