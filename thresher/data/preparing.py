"""From a source to prepared examples, in one call each: documents, labelled documents, pictures.

A part (`TextPart`, `PicturePart`) says what is read: which columns of which source, and which share of its rows, drawn
by a hash of what they hold. It knows what an artefact made from it is known by (`config`, `inputs`). The functions turn
a part into an artefact.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from thresher.artifacts import Artifact
from thresher.data.images.image_examples import LabelledImage, classes_of, prepare_images, read_images
from thresher.data.sources.named_splits import ALL
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.sources.source import Source
from thresher.data.splits import check_part, part_of
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import Document, read_documents, read_whole_rows, texts_to_learn_from
from thresher.data.text.labelled_text import prepare_labelled
from thresher.data.text.overlap import documents_hit, find_overlap, without
from thresher.data.text.text_examples import check_limit, check_shape, prepare_text
from thresher.data.text.tokenizer import check_vocab_size, open_tokenizer, train_tokenizer
from thresher.progress import SILENT, Progress

Ends = tuple[float | int, float | int]
"""[low, high) within [0, 1]; kept as it was written, since it is part of what an artefact is known by."""


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """The documents of a source that fall into a part of it, by a hash of what they hold."""

    source: Source
    columns: TextColumns
    part: Ends = (0, 1)
    seed: int = 0
    """Draws which documents fall into the part."""
    overlap: Artifact | None = None
    """The documents that this overlap artefact lists are left out; None: none are."""

    @property
    def config(self) -> dict[str, Any]:
        """What is read and how, as an artefact's request has it."""
        return {"columns": asdict(self.columns), "part": list(self.part), **self.source.config}

    @cached_property
    def inputs(self) -> dict[str, str]:
        """The hashes of what is read, as an artefact's request has them; found once, by reading every file."""
        overlap = {} if self.overlap is None else {"overlap": self.overlap.content_hash}
        return {"source": self.source.fingerprint(), **overlap}

    def documents(self, skipped: Skipped | None = None, *, whole_rows: bool = False) -> Iterator[Document]:
        """The documents of the part in the source's order; what is left out is listed in `skipped`.

        With `whole_rows` each document remembers all columns of its row. Raises InputError as `read_documents` does.
        """
        skipped = skipped or Skipped()
        documents = read_documents(self.source, self.columns, skipped, whole_rows=whole_rows)
        documents = part_of(documents, *self.part, seed=self.seed)
        return documents if self.overlap is None else without(documents, documents_hit(self.overlap), skipped)

    @property
    def is_empty(self) -> bool:
        """Whether no document falls into the part."""
        return next(self.documents(), None) is None

    @property
    def is_numbered(self) -> bool:
        """Whether ids are the numbers of rows."""
        return not self.source.named_by(self.columns.id)


@dataclass(frozen=True, kw_only=True)
class PicturePart:
    """The first `limit` pictures of a source that fall into a part of it, by a hash of their group or their pixels."""

    source: Source
    image: str = "image"
    label: str = "label"
    id: str | tuple[str, ...] | None = None
    """A column of unique ids, or several that together are unique; None: pictures go by their path or number."""
    group: str | None = None
    """Pictures with the same value here stay on one side of every part."""
    size: int | None = None
    """Pictures are resized to `size` x `size`; None: they stay as they are."""
    part: Ends = (0, 1)
    seed: int = 0
    """Draws which pictures fall into the part."""
    limit: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What is read and how, as an artefact's request has it; how bad rows are, where they are not refused."""
        source = {} if self.source.bad_rows == "refuse" else self.source.config
        return {**self._columns, "part": list(self.part), "limit": self.limit, **source}

    @cached_property
    def inputs(self) -> dict[str, str]:
        """The hash of what is read, as an artefact's request has it; found once, by reading every file.

        Pictures that a table names by path are read too.
        """
        return {"source": self.source.fingerprint(pictures=self.image)}

    def pictures(self, skipped: Skipped | None = None) -> Iterator[LabelledImage]:
        """The pictures of the part in the source's order; what is left out is listed in `skipped`.

        Raises InputError as `read_images` does.
        """
        images = read_images(self.source, **self._columns, skipped=skipped)
        return islice(part_of(images, *self.part, seed=self.seed), self.limit)

    @property
    def is_empty(self) -> bool:
        """Whether no picture falls into the part."""
        return next(self.pictures(), None) is None

    @property
    def is_numbered(self) -> bool:
        """Whether ids are the numbers of rows."""
        return not self.source.named_by(self.id)

    @property
    def _columns(self) -> dict[str, Any]:
        columns = {"image": self.image, "label": self.label, "id": self.id, "size": self.size}
        # Left out where there is none, so that what was prepared before there were groups is found again.
        return columns if self.group is None else {**columns, "group": self.group}


def check_settings(part: Ends, bad_rows: str, limit: int | None = None) -> None:
    """Refuse a part, a way with bad rows or a limit that can be seen to be wrong before anything is read."""
    check_part(*part)
    BadRows(bad_rows)
    check_limit(limit)


def check_text_settings(*, sequence_length: int, tokenizer: str | Path | None, vocab_size: int) -> None:
    """Refuse settings of tokenised text that can be seen to be wrong before anything is read or learnt.

    Raises InputError for a length that is too short, for a `tokenizer` that cannot be read or has no end token and,
    where none is given, for a vocabulary that is too small.
    """
    check_shape(sequence_length, None)
    if tokenizer is None:
        check_vocab_size(vocab_size)
    else:
        open_tokenizer(tokenizer)


def learn_tokenizer(part: TextPart, *, vocab_size: int, out: Path) -> Artifact:
    """Learn a tokenizer from all texts of a part: prompts, what follows them, all choices. Kind `tokenizer`.

    A study learns it from the pool alone. Targets decide no merges: one more of them would make every model another,
    and what validation measures would have had a part in it.
    """
    texts, made_from = texts_to_learn_from(part.documents()), {"config": part.config, "inputs": part.inputs}
    return train_tokenizer(texts, vocab_size=vocab_size, out=out, seed=part.seed, **made_from)


def prepare_documents(
    part: TextPart,
    *,
    tokenizer: str | Path,
    sequence_length: int,
    limit: int | None = None,
    out: Path,
    progress: Progress = SILENT,
) -> Artifact:
    """Tokenise a part into examples for language models, the first `limit` of them (`prepare_text`)."""
    columns = part.columns
    return prepare_text(
        partial(part.documents, whole_rows=True),
        out=out,
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        pack=columns.packed,
        choices=columns.has_choices,
        classes=columns.classify is not None,
        bad_rows=part.source.bad_rows,
        config=part.config,
        inputs=part.inputs,
        limit=limit,
        numbered=part.is_numbered,
        seed=part.seed,
        progress=progress,
    )


def prepare_labelled_documents(
    part: TextPart,
    *,
    classes: Sequence[str] = (),
    tokenizer: str | Path,
    sequence_length: int,
    limit: int | None = None,
    out: Path,
    progress: Progress = SILENT,
) -> Artifact:
    """Tokenise a part into examples for sequence classifiers (`prepare_labelled`); a document's class is its domain.

    `classes` are the labels, in order; none: those that occur in the source.
    """
    return prepare_labelled(
        partial(part.documents, whole_rows=True),
        out=out,
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        classes=list(classes) or classes_of(part.source, label=str(part.columns.domain)),
        bad_rows=part.source.bad_rows,
        config=part.config,
        inputs=part.inputs,
        limit=limit,
        numbered=part.is_numbered,
        seed=part.seed,
        progress=progress,
    )


def prepare_pictures(
    part: PicturePart, *, classes: Sequence[str] = (), out: Path, progress: Progress = SILENT
) -> Artifact:
    """Read a part into examples for image classifiers (`prepare_images`).

    `classes` are the labels, in order; none: those that occur in the source.
    """
    return prepare_images(
        part.pictures,
        out=out,
        classes=list(classes) or classes_of(part.source, label=part.label),
        config=part.config,
        inputs=part.inputs,
        numbered=part.is_numbered,
        seed=part.seed,
        progress=progress,
    )


def overlap_between(
    pool: Source,
    columns: TextColumns,
    targets: Mapping[str, str | Path],
    *,
    ngram: int = 13,
    out: Path,
    progress: Progress = SILENT,
) -> Artifact:
    """Find which documents of a pool share `ngram` words in a row with which rows of targets (`find_overlap`).

    `targets` maps names to files, folders or names of data sets on the hub. All their splits are read, since a document
    may not hold what any of them holds, and all columns of their rows that hold text. Their bad rows are handled as
    those of the pool.
    """
    sources = {name: Source((str(data),), ALL, bad_rows=pool.bad_rows) for name, data in targets.items()}
    hashes = {f"target {name}": source.fingerprint() for name, source in sources.items()}
    return find_overlap(
        partial(read_documents, pool, columns),
        {name: partial(read_whole_rows, source) for name, source in sources.items()},
        out=out,
        ngram=ngram,
        config={"columns": asdict(columns), **pool.config},
        inputs={"source": pool.fingerprint(), **hashes},
        progress=progress,
    )
