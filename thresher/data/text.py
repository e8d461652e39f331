"""Text into token examples: documents packed into sequences that remember them, or prompts with their continuations."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thresher.artifacts import Artifact, Draft, build
from thresher.data.arrays import ArrayWriter
from thresher.data.sources import IdCheck, Source
from thresher.data.tables import ExamplesTable, chunks
from thresher.data.tokenizer import open_tokenizer
from thresher.errors import InputError
from thresher.progress import SILENT, Progress, track


class Document(NamedTuple):
    id: str
    domain: str
    text: str
    prompt: str = ""
    """What is given; only `text` is predicted then."""


class Sequence(NamedTuple):
    """One example: its tokens, and the positions [first, end) of the tokens to be predicted."""

    id: str
    domain: str
    documents: list[str]
    tokens: list[int]
    first: int


@dataclass(frozen=True, kw_only=True)
class TextColumns:
    """Which columns of the source are what. Without an id column, files go by their path, other rows are numbered."""

    text: str = "text"
    prompt: str | None = None
    domain: str | None = None
    id: str | None = None

    def needed(self) -> list[str]:
        return [name for name in (self.text, self.prompt, self.domain, self.id) if name is not None]


def read_documents(source: Source, columns: TextColumns, skipped: Counter | None = None) -> Iterator[Document]:
    """Documents in the source's order; empty ones are left out and counted in `skipped`.

    Raises InputError for a column that does not hold text and for an id that occurs twice.
    """
    skipped = Counter() if skipped is None else skipped
    named, check = columns.id or source.natural_id, IdCheck(source)
    for number, row in enumerate(source.rows(columns.needed())):
        id = check(number if named is None else row[named], number)
        text = _text_of(row, columns.text, number, source)
        if not text.strip():
            skipped["empty"] += 1
            continue
        prompt = "" if columns.prompt is None else _text_of(row, columns.prompt, number, source)
        domain = "" if columns.domain is None or row[columns.domain] is None else str(row[columns.domain])
        yield Document(id, domain, text, prompt)


def _text_of(row: Mapping, column: str, number: int, source: Source) -> str:
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(
            f"{source.name} row {number}: column {column!r} holds {type(value).__name__}, not text; name another"
        )
    return value


def prepare_text(
    documents: Callable[[Counter], Iterable[Document]],
    *,
    out: Path,
    tokenizer: str | Path,
    sequence_length: int,
    pack: bool,
    config: Mapping,
    inputs: Mapping[str, str],
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Artifact:
    """Tokenise `documents` into an artefact of kind `text-examples`, in one pass and bounded memory.

    With `pack`, the documents of a domain follow each other, an end token after each, cut into sequences of
    `sequence_length`; every token is kept, the last sequence of a domain may be shorter. Without it every document is
    an example of its own, its prompt not predicted; one too long loses the beginning of its prompt, then its end.
    `limit` keeps the first so many examples. `documents` is called with a counter of what it leaves out.
    """
    encoder, end, tokenizer_hash = open_tokenizer(tokenizer)
    vocab_size = encoder.get_vocab_size()
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps nothing; pass 1 or more, or none")
    if sequence_length < 2:
        raise InputError(f"sequence_length={sequence_length} leaves nothing to predict; pass at least 2")

    def write(draft: Draft) -> Mapping:
        skipped: Counter = Counter()
        shape = _pack if pack else _separate
        rows = shape(_encode(documents(skipped), encoder), sequence_length, end, skipped)
        num_tokens = num_predicted = 0
        dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
        with (
            draft.file("tokens.npy") as tokens_file,
            draft.file("spans.npy") as spans_file,
            draft.file("examples.parquet") as table_file,
            ArrayWriter(tokens_file, (sequence_length,), dtype) as tokens,
            ArrayWriter(spans_file, (3,), np.int32) as spans,
            ExamplesTable(table_file, documents=True) as table,
        ):
            for block in chunks(track(rows, "tokenise", limit, progress), 1024, limit):
                padded = np.full((len(block), sequence_length), end, dtype)
                for row, sequence in enumerate(block):
                    padded[row, : len(sequence.tokens)] = sequence.tokens
                ends = np.array([(len(row.tokens), row.first, len(row.tokens)) for row in block], np.int32)
                tokens.append(padded)
                spans.append(ends)
                table.append([row.id for row in block], [row.domain for row in block], [row.documents for row in block])
                num_tokens += int(ends[:, 0].sum())
                num_predicted += int((ends[:, 2] - ends[:, 1]).sum())
            num_examples = tokens.num_rows
            if num_examples == 0:
                raise InputError(
                    f"no examples to prepare for {out}: this part of the source is empty or all blank; give more"
                )
        with draft.file("tokenizer.json") as file:
            encoder.save(str(file))
        return {
            "num_examples": num_examples,
            "num_tokens": num_tokens,
            "num_predicted": num_predicted,
            "vocab_size": vocab_size,
            "skipped": dict(skipped),
        }

    request = {**config, "pack": pack, "sequence_length": sequence_length, "limit": limit}
    return build(
        out,
        kind="text-examples",
        config=request,
        seed=seed,
        inputs={**inputs, "tokenizer": tokenizer_hash},
        write=write,
    )


def _encode(documents: Iterable[Document], encoder) -> Iterator[tuple[Document, list[int], list[int]]]:
    """(document, tokens of its prompt, tokens of its text); a prompt and its continuation are joined by a space."""
    for block in chunks(documents, 512):
        texts = [" " + doc.text if doc.prompt and not doc.prompt[-1].isspace() else doc.text for doc in block]
        encoded = encoder.encode_batch_fast(texts, add_special_tokens=False)
        prompts = encoder.encode_batch_fast([doc.prompt for doc in block], add_special_tokens=False)
        for document, prompt, text in zip(block, prompts, encoded, strict=True):
            yield document, prompt.ids, text.ids


def _pack(encoded: Iterable, length: int, end: int, skipped: Counter) -> Iterator[Sequence]:
    open_sequences: dict[str, Sequence] = {}
    for document, _, ids in encoded:
        ids = [*ids, end]
        position = 0
        while position < len(ids):
            sequence = open_sequences.get(document.domain)
            if sequence is None:
                sequence = Sequence(f"{document.id}+{position}", document.domain, [], [], 1)
                open_sequences[document.domain] = sequence
            taken = ids[position : position + length - len(sequence.tokens)]
            sequence.tokens.extend(taken)
            sequence.documents.append(document.id)
            position += len(taken)
            if len(sequence.tokens) == length:
                yield open_sequences.pop(document.domain)
    yield from (sequence for sequence in open_sequences.values() if len(sequence.tokens) > 1)


def _separate(encoded: Iterable, length: int, end: int, skipped: Counter) -> Iterator[Sequence]:
    for document, prompt, ids in encoded:
        if len(prompt) + len(ids) > length:
            skipped["shortened"] += 1
        ids = ids[: length - 1]
        prompt = prompt[max(len(prompt) + len(ids) - length, 0) :]
        first = max(len(prompt), 1)
        if len(prompt) + len(ids) > first:
            yield Sequence(document.id, document.domain, [document.id], [*prompt, *ids], first)
        else:
            skipped["nothing to predict"] += 1
