"""Texts with the class of each, for sequence classifiers: the text goes in, logits over the classes come out.

(Where the class is a word that a language model predicts, see `TextColumns.classify`.) Kind `labelled-text-examples`:
the files of `text-examples`, `labels.npy` int64 [n], and the classes, in the order of their numbers, as a fact. A text
has what the checkpoint's tokenizer puts around it ([CLS] .. [SEP]) and is one window; of one too long the beginning is
kept, which is counted and listed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from thresher.artifacts import Artifact, Draft, build
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.text.documents import Document
from thresher.data.text.encoding import Encoded, encode
from thresher.data.text.fitting import Example, Tokens
from thresher.data.text.tokenizer import open_tokenizer, vocab_size_of
from thresher.data.text.writing import save_reading, write_examples
from thresher.data.token_files import Layout
from thresher.data.writers import numbering
from thresher.errors import InputError
from thresher.progress import SILENT, Progress


def prepare_labelled(
    documents: Callable[[Skipped], Iterable[Document]],
    *,
    out: Path,
    tokenizer: str | Path,
    sequence_length: int,
    classes: list[str],
    config: Mapping,
    inputs: Mapping[str, str],
    bad_rows: str = "refuse",
    limit: int | None = None,
    numbered: bool | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Artifact:
    """Tokenise documents, whose class is their domain, into an artefact of kind `labelled-text-examples`.

    Raises InputError for a class that is none of `classes` (or has it skipped and listed, as `bad_rows` says), and for
    a length that leaves no room for a text. `numbered` is the fact `ids_are_row_numbers`; None: not known.
    """
    encoder, end, tokenizer_hash, begin = open_tokenizer(tokenizer)
    before, after = _around(encoder, begin)
    room = sequence_length - len(before) - len(after)
    if room < 1:
        raise InputError(
            f"sequence_length={sequence_length} leaves no room for a text beside the {len(before) + len(after)} tokens "
            "around it; pass a larger one"
        )
    index = {name: number for number, name in enumerate(classes)}
    layout = Layout(sequence_length=sequence_length, vocab_size=vocab_size_of(encoder), end_token=end)

    def write(draft: Draft) -> Mapping:
        with ExitStack() as files:
            skipped = files.enter_context(Skipped(files.enter_context(draft.file("skipped.parquet"))))
            bad = BadRows(bad_rows, skipped)
            rows = _usable(encode(documents(skipped), encoder, bad, limit=limit), index, bad, skipped)
            wrapped = _Wrapped(before, after, room, index, skipped)
            facts = write_examples(draft, files, rows, wrapped, layout=layout, limit=limit, progress=progress)
            if facts["num_examples"] == 0:
                raise InputError(f"no labelled texts to prepare for {out}: this part of the source is empty; give more")
        save_reading(draft, layout, encoder)
        with draft.file("labels.npy") as file:
            np.save(file, np.asarray(wrapped.labels, dtype=np.int64))
        facts |= {"vocab_size": layout.vocab_size, "num_shortened": wrapped.num_shortened}
        around = [encoder.id_to_token(token) for token in (*before, *after)]
        facts |= {"classes": classes, "around": around, "skipped": dict(skipped.counts)}
        return {**facts, **numbering(numbered)}

    request = {**config, "classes": classes, "sequence_length": sequence_length, "limit": limit}
    request |= {"around": [before, after]}
    made_from = {**inputs, "tokenizer": tokenizer_hash}
    return build(out, kind="labelled-text-examples", config=request, seed=seed, inputs=made_from, write=write)


def _around(tokenizer: Tokenizer, begin: int | None) -> tuple[list[int], list[int]]:
    """What stands before and after every text: as the tokenizer puts it there, and the checkpoint's begin token."""
    alone, whole = (tokenizer.encode("a", add_special_tokens=adds).ids for adds in (False, True))
    start = next((at for at in range(len(whole)) if whole[at : at + len(alone)] == alone), 0)
    before, after = whole[:start], whole[start + len(alone) :]
    return ([begin] if begin is not None and not before else before), after


def _usable(encoded: Iterable[Encoded], index: Mapping[str, int], bad: BadRows, skipped: Skipped) -> Iterator[Encoded]:
    for row in encoded:
        label = row.document.domain
        if label not in index:
            known = ", ".join(list(index)[:8])
            what = f"has the class {label!r}, which is none of {known}" if label else "has no class"
            message = f"document {row.document.id!r} {what}; add it to --classes, or take the row out"
            bad("unknown class", message, file="", id=row.document.id)
        elif not len(row.piece.tokens):
            skipped.add("empty", id=row.document.id)
        else:
            yield row


class _Wrapped:
    """Makes a text an example: shortened to `room` tokens, with what stands around it; remembers its label."""

    def __init__(
        self, before: list[int], after: list[int], room: int, index: Mapping[str, int], skipped: Skipped
    ) -> None:
        self.before, self.after, self.room, self.index, self.skipped = before, after, room, index, skipped
        self.labels: list[int] = []
        self.num_shortened = 0

    def __call__(self, row: Encoded) -> Example:
        stop = len(row.piece.tokens)
        if stop > self.room:
            self.num_shortened, stop = self.num_shortened + 1, self.room
            self.skipped.add("shortened", id=row.document.id)
            while stop > 1 and not row.piece.breaks[stop]:
                stop -= 1
        ids = np.concatenate([self.before, row.piece.tokens[:stop], self.after]).astype(np.uint32)
        self.labels.append(self.index[row.document.domain])
        return Example(row.document, Tokens(ids, first=len(ids)))
