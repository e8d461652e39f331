"""The files that all text examples share, written block by block: tokens, ids, documents as they were, choices."""

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TypeVar

from tokenizers import Tokenizer

from thresher.artifacts import Draft
from thresher.data.text.fitting import Example
from thresher.data.token_files import Layout, TokenWriter
from thresher.data.writers import ChoicesTable, DocumentsTable, ExamplesTable, chunks
from thresher.progress import Progress, track

Row = TypeVar("Row")
BLOCK = 1024


def write_examples(
    draft: Draft,
    files: ExitStack,
    rows: Iterable[Row],
    example_of: Callable[[Row], Example],
    *,
    layout: Layout,
    limit: int | None,
    choices: bool = False,
    progress: Progress,
) -> dict[str, int]:
    """Write the first `limit` of `rows` as examples into files that are finished when `files` is closed; their facts.

    `example_of` makes a row an example when it is written. `choices` says that the examples have some.
    """
    tokens = files.enter_context(TokenWriter(draft, layout))
    table = files.enter_context(ExamplesTable(files.enter_context(draft.file("examples.parquet")), documents=True))
    texts = files.enter_context(DocumentsTable(files.enter_context(draft.file("documents.parquet"))))
    write_choices = _choices_writer(draft, files, layout) if choices else None
    for block in chunks(track(rows, "tokenise", limit, progress), BLOCK, limit):
        before, examples = tokens.num_examples, [example_of(row) for row in block]
        for example in examples:
            tokens.append(example.tokens.ids, example.tokens.first, example.tokens.breaks)
        documents = [example.document for example in examples]
        ids = [document.id for document in documents]
        table.append(ids, [document.domain for document in documents], [[id] for id in ids])
        texts.append([(document.prompt, document.text, json.dumps(document.columns)) for document in documents])
        if write_choices is not None:
            write_choices(before, examples)
    return tokens.facts()


def _choices_writer(draft: Draft, files: ExitStack, layout: Layout) -> Callable[[int, list[Example]], None]:
    tokens = files.enter_context(TokenWriter(draft, layout, prefix="choice_"))
    table = files.enter_context(ChoicesTable(files.enter_context(draft.file("choices.parquet"))))

    def write(before: int, examples: list[Example]) -> None:
        for example in examples:
            for choice in example.choices:
                tokens.append(choice.ids, choice.first)
        table.append([(before + n, len(own.choices), own.document.answer) for n, own in enumerate(examples)])

    return write


def save_reading(draft: Draft, layout: Layout, tokenizer: Tokenizer) -> None:
    """Write what the examples are read with: `layout.json` and `tokenizer.json`."""
    layout.save(draft)
    with draft.file("tokenizer.json") as file:
        tokenizer.save(str(file))
