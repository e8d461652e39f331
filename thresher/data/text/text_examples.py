"""Text into token examples: whole documents that a model reads in windows, or prompts with their continuations."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from thresher.artifacts import Artifact, Draft, build
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.text.documents import Document
from thresher.data.text.encoding import encode
from thresher.data.text.fitting import Cuts, begun, fitted_rows, whole_documents
from thresher.data.text.telling import telling
from thresher.data.text.tokenizer import open_tokenizer, vocab_size_of
from thresher.data.text.writing import save_reading, write_examples
from thresher.data.token_files import Layout
from thresher.data.writers import numbering
from thresher.errors import InputError
from thresher.progress import SILENT, Progress


def check_limit(limit: int | None) -> None:
    """Refuse a limit that keeps no example."""
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps nothing; pass 1 or more, or none")


def check_shape(sequence_length: int, limit: int | None) -> None:
    """Refuse a length or a limit that leaves nothing to learn from."""
    check_limit(limit)
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
    numbered: bool | None = None,
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
    `skipped.parquet`. `numbered` is the fact `ids_are_row_numbers`; None: not known.
    """
    check_shape(sequence_length, limit)
    encoder, end, tokenizer_hash, begin = open_tokenizer(tokenizer)
    vocab_size = vocab_size_of(encoder)
    room = sequence_length - (begin is not None)
    tokens = {"end_token": end, "begin_token": begin, "vocab_size": vocab_size}
    layout = Layout(sequence_length=sequence_length, packed=pack, **tokens)

    def write(draft: Draft) -> Mapping:
        with ExitStack() as files:
            skipped = files.enter_context(Skipped(files.enter_context(draft.file("skipped.parquet"))))
            encoded = encode(documents(skipped), encoder, BadRows(bad_rows, skipped), limit=limit)
            cuts = Cuts(room, sequence_length - room)
            if pack:
                rows = whole_documents(encoded, end, skipped)
            else:
                told = telling(encoded) if classes else encoded
                rows = fitted_rows(told, room, skipped, cuts, has_begin=begin is not None)
            rows = begun(rows, begin)
            options = {"layout": layout, "limit": limit, "choices": choices, "progress": progress}
            facts = write_examples(draft, files, rows, lambda example: example, **options)
            if facts["num_examples"] == 0:
                found = ", ".join(f"{count} {reason}" for reason, count in skipped.counts.items())
                raise InputError(
                    f"no examples to prepare for {out}: this part of the source is empty or all blank"
                    f"{f' ({found})' if found else ''}; give more"
                )
        save_reading(draft, layout, encoder)
        cut = {} if pack else {"cut": cuts.facts()}
        facts |= {"vocab_size": vocab_size, "end_token": encoder.id_to_token(end)}
        facts |= {} if begin is None else {"begin_token": encoder.id_to_token(begin)}
        return {**facts, **cut, "skipped": dict(skipped.counts), **numbering(numbered)}

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
