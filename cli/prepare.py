"""`thresher prepare`: a source into a prepared pool or target."""

from dataclasses import dataclass
from pathlib import Path

from thresher.cli.command import Command, made


@dataclass(frozen=True, kw_only=True)
class Prepare(Command):
    """Tokenise and pack a pool or a target, or read images, into a prepared artefact with stable ids."""

    data: tuple[str, ...]
    """Files, globs, a folder, or the name of a data set on the hub."""
    out: Path
    """Where the prepared artefact goes."""
    task: str = "language"
    """language or vision."""
    split: str = "train"
    subset: str | None = None
    """The configuration of a hub data set that has several."""
    text: str = "text"
    """The text column (text files have one row each, with the columns text and file)."""
    prompt: str | None = None
    """A column that is given and not predicted; then --continuation is."""
    continuation: str | None = None
    domain: str | None = None
    id: str | None = None
    """A column of unique ids; None: rows are numbered."""
    tokenizer: str | None = None
    """A tokenizer artefact, a tokenizer.json or a checkpoint; None: trained on this data and kept beside --out."""
    vocab_size: int = 4096
    sequence_length: int = 128
    image: str = "image"
    label: str = "label"
    size: int | None = None
    """Images are resized to size x size."""
    classes: tuple[str, ...] = ()
    """The labels, in order; none: those that occur. Give a target the classes of its pool."""
    part: tuple[float, float] = (0.0, 1.0)
    """The examples whose id hashes into this interval: disjoint parts for selection and validation."""
    limit: int | None = None
    """At most so many examples, from the start."""
    seed: int = 0

    def run(self, progress):
        from thresher.data.sources import Source
        from thresher.errors import InputError

        source = Source(self.data, self.split, self.subset)
        if self.task not in ("language", "vision"):
            raise InputError(f"task {self.task!r} is unknown; pass language or vision")
        prepared = self._text(source, progress) if self.task == "language" else self._images(source, progress)
        return made(prepared)

    def _text(self, source, progress):
        from dataclasses import asdict

        from thresher.data.parts import part_of
        from thresher.data.text import TextColumns, prepare_text, read_documents
        from thresher.data.tokenizer import train_tokenizer
        from thresher.errors import InputError

        if (self.prompt is None) != (self.continuation is None):
            raise InputError("--prompt and --continuation belong together; give both, or neither")
        columns = TextColumns(text=self.continuation or self.text, prompt=self.prompt, domain=self.domain, id=self.id)
        inputs = {"source": source.fingerprint()}
        tokenizer = self.tokenizer
        if tokenizer is None:
            trained = train_tokenizer(
                (document.text for document in read_documents(source, columns)),
                vocab_size=self.vocab_size,
                out=self.out.with_name(f"{self.out.name}-tokenizer"),
                inputs=inputs,
            )
            tokenizer = trained.path
        return prepare_text(
            lambda skipped: part_of(read_documents(source, columns, skipped), *self.part, seed=self.seed),
            out=self.out,
            tokenizer=tokenizer,
            sequence_length=self.sequence_length,
            pack=self.continuation is None,
            config={"columns": asdict(columns), "part": list(self.part)},
            inputs=inputs,
            limit=self.limit,
            seed=self.seed,
            progress=progress,
        )

    def _images(self, source, progress):
        from itertools import islice

        from thresher.data.images import classes_of, prepare_images, read_images
        from thresher.data.parts import part_of
        from thresher.errors import InputError

        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit={self.limit} keeps nothing; pass 1 or more, or none")
        columns = {"image": self.image, "label": self.label, "id": self.id, "size": self.size}
        classes = list(self.classes) or classes_of(source, label=self.label)
        return prepare_images(
            islice(part_of(read_images(source, **columns), *self.part, seed=self.seed), self.limit),
            out=self.out,
            classes=classes,
            config={**columns, "part": list(self.part), "limit": self.limit},
            inputs={"source": source.fingerprint()},
            seed=self.seed,
            progress=progress,
        )


COMMAND = Prepare
