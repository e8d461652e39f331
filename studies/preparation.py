"""From a study's sources to prepared examples: the pool, each target's part to select for, its part to validate on."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from thresher.artifacts import Artifact
from thresher.canonical import hash_json
from thresher.data.examples import Examples, open_examples
from thresher.data.images.image_examples import classes_of, prepare_images, read_images
from thresher.data.sources.skipped import Skipped
from thresher.data.sources.source import Source
from thresher.data.splits import part_of
from thresher.data.text.cut import cut_line, is_most
from thresher.data.text.documents import Document, TextColumns, read_documents, texts_to_learn_from
from thresher.data.text.overlap import documents_hit, find_overlap, without
from thresher.data.text.text_examples import prepare_text
from thresher.data.text.tokenizer import open_tokenizer, train_tokenizer
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.workspace import Workspace

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    pool: Examples
    targets: dict[str, Examples]
    """What selection sees of each target."""
    heldout: dict[str, Examples]
    """What validation measures: the other part of each target, by the same name."""
    off_target: Examples | None
    """A part of the pool's source that is in neither the pool nor a target; None where that part is empty."""
    overlap: Artifact | None = None
    """Which documents of the pool share words with targets, both parts of them; None for images."""


def prepare(study: Study, workspace: Workspace) -> Prepared:
    """Prepare everything `study` names, under `workspace`; what is there already is only opened."""
    part = _TextParts(study, workspace) if study.task == "language" else _ImageParts(study, workspace)
    held = study.pool.holdout * study.pool.share
    pool = part("pool", study.pool, held, study.pool.share)
    # A small pool has nobody in so small a part.
    off_target = None if held == 0 or part.is_empty(study.pool, 0, held) else part("off-target", study.pool, 0, held)
    targets = {name: part(f"target-{name}", table, table.holdout, 1) for name, table in study.target.items()}
    heldout = {name: part(f"heldout-{name}", table, 0, table.holdout) for name, table in study.target.items()}
    return Prepared(pool, targets, heldout, off_target, part.overlap)


def cut_lines(prepared: Prepared) -> dict[str, str]:
    """What `thresher prepare` says of rows that were cut, of every prepared part that has some."""
    parts = {f"target {name}": examples for name, examples in prepared.targets.items()}
    parts |= {f"held-out {name}": examples for name, examples in prepared.heldout.items()}
    lines = {
        name: cut_line(examples.artifact.facts, examples.artifact.meta["config"]["sequence_length"])
        for name, examples in parts.items()
        if "cut" in examples.artifact.facts
    }
    return {name: line for name, line in lines.items() if line is not None}


def source_of(table: PoolTable | TargetTable) -> Source:
    data = (table.data,) if isinstance(table.data, str) else tuple(table.data)
    return Source(data, table.split, table.subset, table.bad_rows)


def ids_of(table: PoolTable | TargetTable) -> str | tuple[str, ...] | None:
    return tuple(table.id) if isinstance(table.id, list) else table.id


def columns_of(table: PoolTable | TargetTable) -> TextColumns:
    """Which columns a table of a text study names; one pass over the source where its classes are not given."""
    if isinstance(table, PoolTable):
        return TextColumns(text=table.text, domain=table.domain, id=ids_of(table), group=table.group)
    return TextColumns(
        text=table.continuation or table.text,
        prompt=table.prompt,
        id=ids_of(table),
        choices=table.choices,
        gold=table.gold,
        classify=table.classify,
        classes=tuple(table.classes),
        question=table.question,
        group=table.group,
    ).with_classes(source_of(table))


def learn_tokenizer(
    source: Source, columns: TextColumns, part: tuple[float, float, int] = (0, 1, 0), *, vocab_size: int, out: Path
) -> Artifact:
    """A tokenizer learnt from all texts of a part (low, high, seed) of a source: prompts, what follows, all choices.

    A study learns it from the pool alone. Targets decide no merges: one more of them would make every model another,
    and what validation measures would have had a part in it.
    """
    low, high, seed = part
    documents = part_of(read_documents(source, columns), low, high, seed=seed)
    inputs = {"source": source.fingerprint(), "columns": hash_json(asdict(columns)), "part": hash_json(list(part))}
    return train_tokenizer(texts_to_learn_from(documents), vocab_size=vocab_size, out=out, inputs=inputs)


class _TextParts:
    """Prepares parts of text sources with the study's one tokenizer."""

    def __init__(self, study: Study, workspace: Workspace) -> None:
        self.study, self.workspace = study, workspace
        self.columns = {name: columns_of(table) for name, table in study.target.items()}
        self.tokenizer = study.tokenizer or str(self._train_tokenizer().path)
        self.tokenizer_hash = open_tokenizer(self.tokenizer)[2]
        self.overlap = self._find_overlap()

    def _train_tokenizer(self) -> Artifact:
        pool = self.study.pool
        source = source_of(pool)
        columns = TextColumns(text=pool.text, group=pool.group)
        part = (0.0, pool.share, self.study.seed)
        out = self.workspace.place("tokenizer", source.fingerprint(), asdict(columns), *part, self.study.vocab_size)
        return learn_tokenizer(source, columns, part, vocab_size=self.study.vocab_size, out=out)

    def _find_overlap(self) -> Artifact:
        pool, seed = self.study.pool, self.study.seed
        low, high = pool.holdout * pool.share, pool.share
        source, columns = source_of(pool), columns_of(pool)
        sources = {name: source_of(table) for name, table in self.study.target.items()}
        config = {
            "columns": {".pool": asdict(columns), **{name: asdict(own) for name, own in self.columns.items()}},
            "part": [low, high, seed],
        }
        inputs = {".pool": source.fingerprint(), **{name: own.fingerprint() for name, own in sources.items()}}
        return find_overlap(
            lambda: part_of(read_documents(source, columns), low, high, seed=seed),
            {name: lambda name=name: read_documents(sources[name], self.columns[name]) for name in sources},
            out=self.workspace.place("overlap", config, inputs, pool.ngram),
            ngram=pool.ngram,
            config=config,
            inputs=inputs,
            progress=self.workspace.progress,
        )

    def __call__(self, name: str, table: PoolTable | TargetTable, low: float, high: float) -> Examples:
        source, seed = source_of(table), self.study.seed
        columns = columns_of(table) if isinstance(table, PoolTable) else self.columns[name.partition("-")[2]]
        config = {"columns": asdict(columns), "part": [low, high], "bad_rows": table.bad_rows}
        inputs = {"source": source.fingerprint()}
        hit: dict[str, str] = {}
        if name == "pool" and self.study.pool.decontaminate:
            inputs["overlap"], hit = self.overlap.content_hash, documents_hit(self.overlap)
        options = {"sequence_length": self.study.sequence_length, "limit": getattr(table, "limit", None)}

        def documents(skipped: Skipped) -> Iterable[Document]:
            return without(
                part_of(read_documents(source, columns, skipped, whole_rows=True), low, high, seed=seed), hit, skipped
            )

        artifact = prepare_text(
            documents,
            out=self.workspace.place(f"data/{name}", config, inputs, options, seed, self.tokenizer_hash),
            tokenizer=self.tokenizer,
            pack=columns.packed,
            choices=columns.has_choices,
            classes=columns.classify is not None,
            bad_rows=table.bad_rows,
            config=config,
            inputs=inputs,
            seed=seed,
            progress=self.workspace.progress,
            **options,
        )
        if is_most(artifact.facts):
            LOGGER.warning(f"{name}: {cut_line(artifact.facts, self.study.sequence_length)}")
        return open_examples(artifact.path)

    def is_empty(self, table: PoolTable, low: float, high: float) -> bool:
        documents = read_documents(source_of(table), columns_of(table), Skipped())
        return next(iter(part_of(documents, low, high, seed=self.study.seed)), None) is None


class _ImageParts:
    """Prepares parts of image sources with the classes of the pool."""

    overlap = None

    def __init__(self, study: Study, workspace: Workspace) -> None:
        self.study, self.workspace = study, workspace
        self.classes = classes_of(source_of(study.pool), label=study.pool.label)

    def __call__(self, name: str, table: PoolTable | TargetTable, low: float, high: float) -> Examples:
        source, limit = source_of(table), getattr(table, "limit", None)
        columns = {"image": table.image, "label": table.label, "id": ids_of(table), "size": self.study.pool.size}
        config = {**columns, "part": [low, high], "limit": limit}
        inputs = {"source": source.fingerprint()}
        images = part_of(read_images(source, **columns), low, high, seed=self.study.seed)
        artifact = prepare_images(
            islice(images, limit),
            out=self.workspace.place(f"data/{name}", config, inputs, self.classes, self.study.seed),
            classes=self.classes,
            config=config,
            inputs=inputs,
            left_out=source.left_out(),
            seed=self.study.seed,
            progress=self.workspace.progress,
        )
        return open_examples(artifact.path)

    def is_empty(self, table: PoolTable, low: float, high: float) -> bool:
        images = read_images(source_of(table), image=table.image, label=table.label, id=table.id, size=None)
        return next(iter(part_of(images, low, high, seed=self.study.seed)), None) is None
