"""`thresher prepare`: a source into a prepared pool or target."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from thresher.cli.command import Command, made, warn
from thresher.data.text.cut import cut_line, is_most


@dataclass(frozen=True, kw_only=True)
class Prepare(Command):
    """Tokenise and pack a pool or a target, or read images, into a prepared artefact with stable ids."""

    data: tuple[str, ...]
    """Files, globs, a folder, or the name of a data set on the hub."""
    out: Path
    """Where the prepared artefact goes."""
    task: str = "language"
    """language, vision, or text-classification: --text and its class in --label, for sequence classifiers."""
    split: str | None = None
    """The split of a hub data set, or of a folder whose files or folders are named after splits; all: every one. None:
    train, and of files that are named one by one all."""
    subset: Annotated[str | None, tyro.conf.arg(aliases=["--config"])] = None
    """The configuration of a hub data set that has several; the folder of that name in a folder."""
    text: str = "text"
    """The text column (text files have one row each, with the columns text and file)."""
    prompt: str | None = None
    """A column that is given and not predicted; then --continuation is, or the right one of --choices."""
    continuation: str | None = None
    choices: str | None = None
    """A column of lists of texts: multiple choice, of which --gold is the right one."""
    gold: str | None = None
    """The column with the right choice's number, from 0, or its label."""
    classify: str | None = None
    """A column of classes: the text is given, its class predicted (see --classes, --question)."""
    question: str = "\nLabel:"
    """What stands between a text and its class."""
    domain: str | None = None
    id: tuple[str, ...] = ()
    """A column of unique ids, or several that together are unique; none: rows are numbered, files go by their path."""
    bad_rows: str = "refuse"
    """refuse, skip or replace (broken UTF-8 by U+FFFD): rows that cannot be used; skipped ones are listed."""
    group: str | None = None
    """Rows with the same value here stay on one side of every --part."""
    tokenizer: str | None = None
    """A tokenizer artefact, a tokenizer.json or a checkpoint; None: trained on this data and kept beside --out."""
    vocab_size: int = 4096
    sequence_length: int = 128
    image: str = "image"
    label: str = "label"
    size: int | None = None
    """Images are resized to size x size."""
    classes: tuple[str, ...] = ()
    """The labels, in order; none: those that occur. Give a target the classes of its pool. Of text: VALUE=WORD, WORD is
    what is predicted."""
    part: tuple[float, float] = (0.0, 1.0)
    """The examples whose content hashes into this interval: disjoint parts for selection and validation."""
    decontaminate: tuple[str, ...] = ()
    """NAME=DATA of targets: documents that share --ngram words in a row with one are left out, and listed."""
    ngram: int = 13
    limit: int | None = None
    """At most so many examples, from the start."""
    seed: int = 0

    def run(self, progress):
        from thresher.data.sources.source import Source

        self._check()
        source = Source(self.data, self.split, self.subset, self.bad_rows)
        prepared = self._images(source, progress) if self.task == "vision" else self._text(source, progress)
        if is_most(prepared.facts):
            warn(str(cut_line(prepared.facts, self.sequence_length)))
        return made(prepared)

    def show(self, result):
        line = cut_line(result, self.sequence_length)
        shown = {key: value for key, value in result.items() if key != "cut"}
        return super().show(shown if line is None else {**shown, "cut": line})

    def _check(self):
        """Refuses settings that can be seen to be wrong before anything is read or trained."""
        from thresher.data.sources.skipped import BadRows
        from thresher.data.splits import check_part
        from thresher.data.text.text_examples import check_shape
        from thresher.data.text.tokenizer import check_vocab_size, open_tokenizer
        from thresher.errors import InputError

        if self.task not in ("language", "vision", "text-classification"):
            raise InputError(f"task {self.task!r} is unknown; pass language, vision or text-classification")
        given = (self.prompt, self.continuation, self.choices, self.gold, self.classify, self.domain)
        if self.task == "text-classification" and any(option is not None for option in given):
            raise InputError(
                "--task text-classification reads --text and --label, and a text's domain is its class; leave out "
                "--prompt, --continuation, --choices, --gold, --classify and --domain"
            )
        if self.task == "vision" and (self.bad_rows != "refuse" or self.decontaminate):
            raise InputError("--bad-rows and --decontaminate are for text; leave them out for images")
        check_part(*self.part)
        BadRows(self.bad_rows)
        if self.task == "vision":
            return
        check_shape(self.sequence_length, self.limit)
        if self.tokenizer is None:
            check_vocab_size(self.vocab_size)
        else:
            open_tokenizer(self.tokenizer)

    def _columns(self, source):
        from thresher.data.text.documents import TextColumns
        from thresher.errors import InputError

        if self.choices is not None and self.continuation is not None:
            raise InputError("the continuation is the right one of --choices; leave out --continuation")
        if (self.prompt is None) != (self.continuation is None and self.choices is None):
            raise InputError("--prompt and --continuation belong together; give both, or neither")
        return TextColumns(
            text=self.continuation or self.text,
            prompt=self.prompt,
            domain=self.label if self.task == "text-classification" else self.domain,
            id=self.id or None,
            choices=self.choices,
            gold=self.gold,
            classify=self.classify,
            classes=() if self.task == "text-classification" else self.classes,
            question=self.question,
            group=self.group,
        ).with_classes(source)

    def _text(self, source, progress):
        from dataclasses import asdict

        from thresher.cli.overlap import find
        from thresher.data.images.image_examples import classes_of
        from thresher.data.splits import part_of
        from thresher.data.text.documents import read_documents
        from thresher.data.text.labelled_text import prepare_labelled
        from thresher.data.text.overlap import documents_hit, without
        from thresher.data.text.text_examples import prepare_text
        from thresher.studies.preparation import learn_tokenizer

        columns = self._columns(source)
        config = {"columns": asdict(columns), "part": list(self.part), "bad_rows": self.bad_rows}
        inputs, hit = {"source": source.fingerprint()}, {}
        if self.decontaminate:
            overlap = find(
                source,
                columns,
                self.decontaminate,
                out=self.out.with_name(f"{self.out.name}-overlap"),
                ngram=self.ngram,
                progress=progress,
            )
            inputs["overlap"], hit = overlap.content_hash, documents_hit(overlap)
        tokenizer = self.tokenizer
        if tokenizer is None:
            place = self.out.with_name(f"{self.out.name}-tokenizer")
            tokenizer = learn_tokenizer(source, columns, vocab_size=self.vocab_size, out=place).path

        def documents(skipped):
            part = part_of(read_documents(source, columns, skipped, whole_rows=True), *self.part, seed=self.seed)
            return without(part, hit, skipped)

        shared = {"out": self.out, "tokenizer": tokenizer, "sequence_length": self.sequence_length}
        shared |= {"bad_rows": self.bad_rows, "config": config, "inputs": inputs, "limit": self.limit}
        shared |= {"seed": self.seed, "progress": progress}
        if self.task == "text-classification":
            classes = list(self.classes) or classes_of(source, label=self.label)
            return prepare_labelled(documents, classes=classes, **shared)
        kinds = {"pack": columns.packed, "choices": columns.has_choices, "classes": columns.classify is not None}
        return prepare_text(documents, **kinds, **shared)

    def _images(self, source, progress):
        from itertools import islice

        from thresher.data.images.image_examples import classes_of, prepare_images, read_images
        from thresher.data.splits import part_of
        from thresher.errors import InputError

        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit={self.limit} keeps nothing; pass 1 or more, or none")
        columns = {"image": self.image, "label": self.label, "id": self.id or None, "size": self.size}
        classes = list(self.classes) or classes_of(source, label=self.label)
        return prepare_images(
            islice(part_of(read_images(source, **columns), *self.part, seed=self.seed), self.limit),
            out=self.out,
            classes=classes,
            config={**columns, "part": list(self.part), "limit": self.limit},
            inputs={"source": source.fingerprint()},
            left_out=source.left_out(),
            seed=self.seed,
            progress=progress,
        )


COMMAND = Prepare
