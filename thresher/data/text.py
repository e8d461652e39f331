"""Text into token examples: documents packed into sequences that remember them, or prompts with their continuations."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thresher.artifacts import Artifact, Draft, build
from thresher.data.arrays import ArrayWriter
from thresher.data.documents import Document
from thresher.data.encoding import Encoded, encode
from thresher.data.skipped import Skipped
from thresher.data.tables import ChoicesTable, ExamplesTable, chunks
from thresher.data.tokenizer import open_tokenizer
from thresher.errors import InputError
from thresher.progress import SILENT, Progress, track


class Tokens(NamedTuple):
    """The tokens of an example [t], of which those from `first` on are to be predicted."""

    ids: np.ndarray
    first: int


class Sequence(NamedTuple):
    """One example."""

    id: str
    domain: str
    documents: list[str]
    tokens: Tokens
    choices: list[Tokens] = []  # noqa: RUF012 (never changed)
    answer: int = 0


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
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Artifact:
    """Tokenise `documents` into an artefact of kind `text-examples`, in one pass and bounded memory.

    With `pack`, the documents of a domain follow each other, an end token after each, cut into sequences of
    `sequence_length`; every token is kept, the last sequence of a domain may be shorter. Without it every document is
    an example of its own, its prompt not predicted; one too long loses the beginning of its prompt, then its end.
    `choices` says that the documents have some: an example is the right one, and all of them lie beside the examples.
    `limit` keeps the first so many examples. `documents` is called with the list of what it leaves out, which becomes
    `skipped.parquet`.
    """
    encoder, end, tokenizer_hash = open_tokenizer(tokenizer)
    vocab_size = max(encoder.get_vocab().values()) + 1
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps nothing; pass 1 or more, or none")
    if sequence_length < 2:
        raise InputError(f"sequence_length={sequence_length} leaves nothing to predict; pass at least 2")

    def write(draft: Draft) -> Mapping:
        shape = _pack if pack else _separate
        with ExitStack() as files:
            skipped = files.enter_context(Skipped(files.enter_context(draft.file("skipped.parquet"))))
            rows = shape(encode(documents(skipped), encoder), sequence_length, end, skipped)
            rows = track(rows, "tokenise", limit, progress)
            facts = _write_examples(draft, files, rows, limit, sequence_length, end, vocab_size, choices)
            if facts["num_examples"] == 0:
                found = ", ".join(f"{count} {reason}" for reason, count in skipped.counts.items())
                raise InputError(
                    f"no examples to prepare for {out}: this part of the source is empty or all blank"
                    f"{f' ({found})' if found else ''}; give more"
                )
        with draft.file("tokenizer.json") as file:
            encoder.save(str(file))
        return {**facts, "vocab_size": vocab_size, "skipped": dict(skipped.counts)}

    request = {**config, "pack": pack, "sequence_length": sequence_length, "limit": limit}
    return build(
        out,
        kind="text-examples",
        config=request,
        seed=seed,
        inputs={**inputs, "tokenizer": tokenizer_hash},
        write=write,
    )


def _write_examples(
    draft: Draft,
    files: ExitStack,
    rows: Iterable[Sequence],
    limit: int | None,
    sequence_length: int,
    end: int,
    vocab_size: int,
    choices: bool,
) -> dict[str, int]:
    dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
    num_predicted = num_tokens = 0
    tokens = files.enter_context(_TokenWriter(draft, "", sequence_length, end, dtype))
    table = files.enter_context(ExamplesTable(files.enter_context(draft.file("examples.parquet")), documents=True))
    if choices:
        choice_tokens = files.enter_context(_TokenWriter(draft, "choice_", sequence_length, end, dtype))
        choice_table = files.enter_context(ChoicesTable(files.enter_context(draft.file("choices.parquet"))))
    for block in chunks(rows, 1024, limit):
        before = tokens.num_rows
        lengths, predicted = tokens.append([row.tokens for row in block])
        num_tokens, num_predicted = num_tokens + lengths, num_predicted + predicted
        table.append([row.id for row in block], [row.domain for row in block], [row.documents for row in block])
        if choices:
            choice_tokens.append([choice for row in block for choice in row.choices])
            choice_table.append([(before + n, len(row.choices), row.answer) for n, row in enumerate(block)])
    return {"num_examples": tokens.num_rows, "num_tokens": num_tokens, "num_predicted": num_predicted}


class _TokenWriter:
    """`tokens.npy` and `spans.npy`, their names after `prefix`."""

    def __init__(self, draft: Draft, prefix: str, sequence_length: int, end: int, dtype: type) -> None:
        self._files = ExitStack()
        tokens, spans = (self._files.enter_context(draft.file(f"{prefix}{name}.npy")) for name in ("tokens", "spans"))
        self._tokens = self._files.enter_context(ArrayWriter(tokens, (sequence_length,), dtype))
        self._spans = self._files.enter_context(ArrayWriter(spans, (3,), np.int32))
        self._length, self._end, self._dtype = sequence_length, end, dtype

    @property
    def num_rows(self) -> int:
        return self._tokens.num_rows

    def append(self, rows: list[Tokens]) -> tuple[int, int]:
        """Returns how many tokens `rows` hold, and how many of them are predicted."""
        padded = np.full((len(rows), self._length), self._end, self._dtype)
        for row, tokens in enumerate(rows):
            padded[row, : len(tokens.ids)] = tokens.ids
        spans = np.array([(len(row.ids), row.first, len(row.ids)) for row in rows], np.int32)
        self._tokens.append(padded)
        self._spans.append(spans)
        return int(spans[:, 0].sum()), int((spans[:, 2] - spans[:, 1]).sum())

    def __enter__(self) -> "_TokenWriter":
        return self

    def __exit__(self, *error) -> bool | None:
        return self._files.__exit__(*error)


class _Open:
    """A sequence that is being filled."""

    def __init__(self, id: str, domain: str, length: int) -> None:
        self.id, self.domain, self.documents, self.filled = id, domain, [], 0
        self.ids = np.empty(length, np.uint32)

    def take(self, document: str, ids: np.ndarray) -> int:
        """Takes as many of `ids` as there is room for; returns how many."""
        taken = ids[: len(self.ids) - self.filled]
        self.ids[self.filled : self.filled + len(taken)] = taken
        self.filled += len(taken)
        self.documents.append(document)
        return len(taken)

    def closed(self) -> Sequence:
        return Sequence(self.id, self.domain, self.documents, Tokens(self.ids[: self.filled], 1))


def _pack(encoded: Iterable[Encoded], length: int, end: int, skipped: Skipped) -> Iterator[Sequence]:
    growing: dict[str, _Open] = {}
    for document, _, text, _ in encoded:
        ids, position = np.append(text, np.uint32(end)), 0
        while position < len(ids):
            sequence = growing.get(document.domain)
            if sequence is None:
                sequence = growing[document.domain] = _Open(f"{document.id}+{position}", document.domain, length)
            position += sequence.take(document.id, ids[position:])
            if sequence.filled == length:
                yield growing.pop(document.domain).closed()
    for sequence in growing.values():
        if sequence.filled > 1:
            yield sequence.closed()
        else:
            skipped.add("a domain's last token, alone", id=sequence.documents[0])


def _separate(encoded: Iterable[Encoded], length: int, end: int, skipped: Skipped) -> Iterator[Sequence]:
    for document, prompt, text, choices in encoded:
        if len(prompt) + len(text) > length:
            skipped.add("shortened", id=document.id)
        tokens = _fitted(prompt, text, length)
        if len(tokens.ids) > tokens.first:
            # All choices after the same prompt: as much of its end as the longest of them leaves room for.
            room = max(length - max((len(choice) for choice in choices), default=0), 1)
            rest = [_fitted(prompt[max(len(prompt) - room, 0) :], choice, length) for choice in choices]
            yield Sequence(document.id, document.domain, [document.id], tokens, rest, document.answer)
        else:
            skipped.add("nothing to predict", id=document.id)


def _fitted(prompt: np.ndarray, text: np.ndarray, length: int) -> Tokens:
    text = text[: length - 1]
    prompt = prompt[max(len(prompt) + len(text) - length, 0) :]
    return Tokens(np.concatenate([prompt, text]), max(len(prompt), 1))
