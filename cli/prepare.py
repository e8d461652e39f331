"""`thresher prepare`: a source into a prepared pool or target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from thresher.artifacts import Artifact
from thresher.choices import BadRows, Task
from thresher.cli.arguments import flag_of
from thresher.cli.command import Command, made, named_paths, warn
from thresher.data.text.cut import cut_line, is_most
from thresher.errors import InputError
from thresher.idle import OF_TASKS, PREPARING, check_task
from thresher.progress import Progress

if TYPE_CHECKING:
    from thresher.data.text.columns import TextColumns


@dataclass(frozen=True, kw_only=True)
class Prepare(Command):
    """Tokenise and pack a pool or a target, or read images, into a prepared artefact with stable ids."""

    sources = ("data", "decontaminate")
    idle = PREPARING
    usage = """
    thresher prepare --data corpus.jsonl --domain source --id id --out pool
    thresher prepare --data qa.jsonl --prompt question --continuation answer --tokenizer pool-tokenizer --out target
    thresher prepare --data lm_eval:arc_easy --tokenizer pool-tokenizer --out arc
    thresher prepare --task vision --data images --size 32 --out pictures
    """

    data: tuple[str, ...]
    """Files, globs, a folder, the name of a data set on the hub, or a task of lm-evaluation-harness, whose columns are
    known (lm_eval:TASK or lm_eval:FILE.yaml)."""
    out: Path
    """Where the prepared artefact goes."""
    task: Task = "language"
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
    bad_rows: BadRows = "refuse"
    """refuse, skip or replace (broken UTF-8 by U+FFFD): rows (and images) that cannot be used; skipped ones are
    listed."""
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

    def check(self) -> None:
        """Refuse also options of another task."""
        super().check()
        check_task(self.given(*OF_TASKS), self.task, flag_of)

    def run(self, progress: Progress) -> dict[str, Any]:
        """Prepare the source; warn where most rows were cut."""
        self._check()
        prepared = self._pictures(progress) if self.task == "vision" else self._documents(progress)
        if is_most(prepared.facts):
            warn(str(cut_line(prepared.facts, self.sequence_length)))
        return made(prepared)

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The command that comes next."""
        from thresher.cli.following import after_preparing

        return after_preparing(self.out, self.tokenizer)

    def show(self, result: Mapping[str, Any]) -> str:
        """The result as lines, what was cut in one of them."""
        line = cut_line(result, self.sequence_length)
        shown = {key: value for key, value in result.items() if key != "cut"}
        return super().show(shown if line is None else {**shown, "cut": line})

    def _check(self) -> None:
        """Refuse settings that can be seen to be wrong before anything is read or trained."""
        from thresher.data.preparing import check_settings, check_text_settings

        check_settings(self.part, self.bad_rows, self.limit)
        if self.task != "vision":
            check_text_settings(
                sequence_length=self.sequence_length, tokenizer=self.tokenizer, vocab_size=self.vocab_size
            )

    def _columns(self) -> "TextColumns":
        from thresher.data.text.columns import TextColumns

        if self.choices is not None and self.continuation is not None:
            raise InputError("the continuation is the right one of --choices; leave out --continuation")
        if (self.prompt is None) != (self.continuation is None and self.choices is None):
            raise InputError("--prompt and --continuation belong together; give both, or neither")
        is_labelled = self.task == "text-classification"
        return TextColumns(
            text=self.continuation or self.text,
            prompt=self.prompt,
            domain=self.label if is_labelled else self.domain,
            id=self.id or None,
            choices=self.choices,
            gold=self.gold,
            classify=self.classify,
            classes=() if is_labelled else self.classes,
            question=self.question,
            group=self.group,
        )

    def _documents(self, progress: Progress) -> Artifact:
        from thresher.data.preparing import (
            TextPart,
            learn_tokenizer,
            overlap_between,
            prepare_documents,
            prepare_labelled_documents,
        )
        from thresher.data.sources.source import Source

        source = Source(self.data, self.split, self.subset, self.bad_rows)
        columns, overlap, tokenizer = self._columns().of_source(source), None, self.tokenizer
        if self.decontaminate:
            targets = named_paths(self.decontaminate, "--decontaminate")
            place = self.out.with_name(f"{self.out.name}-overlap")
            overlap = overlap_between(source, columns, targets, ngram=self.ngram, out=place, progress=progress)
        if tokenizer is None:
            place = self.out.with_name(f"{self.out.name}-tokenizer")
            tokenizer = learn_tokenizer(
                TextPart(source=source, columns=columns), vocab_size=self.vocab_size, out=place
            ).path
        part = TextPart(source=source, columns=columns, part=self.part, seed=self.seed, overlap=overlap)
        options = {"tokenizer": tokenizer, "sequence_length": self.sequence_length, "limit": self.limit}
        options |= {"out": self.out, "progress": progress}
        if self.task == "text-classification":
            return prepare_labelled_documents(part, classes=self.classes, **options)
        return prepare_documents(part, **options)

    def _pictures(self, progress: Progress) -> Artifact:
        from thresher.data.preparing import PicturePart, prepare_pictures
        from thresher.data.sources.source import Source

        part = PicturePart(
            source=Source(self.data, self.split, self.subset, self.bad_rows),
            image=self.image,
            label=self.label,
            id=self.id or None,
            group=self.group,
            size=self.size,
            part=self.part,
            seed=self.seed,
            limit=self.limit,
        )
        return prepare_pictures(part, classes=self.classes, out=self.out, progress=progress)


COMMAND = Prepare
