"""From a study's sources to prepared examples: the pool, each target's part to select for, its part to validate on."""

import logging
from dataclasses import dataclass

from thresher.artifacts import Artifact
from thresher.data.examples import Examples, open_examples
from thresher.data.images.image_examples import classes_of
from thresher.data.preparing import PicturePart, TextPart, learn_tokenizer, prepare_documents, prepare_pictures
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.data.text.cut import cut_line, is_most
from thresher.data.text.overlap import find_overlap
from thresher.data.text.tokenizer import open_tokenizer
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.workspace import Workspace

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Everything a study reads, prepared."""

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
    part = _TextParts(study, workspace) if study.task == "language" else _PictureParts(study, workspace)
    held = study.pool.holdout * study.pool.share
    pool = part("pool", study.pool, held, study.pool.share)
    # So small a part of a small pool may be empty.
    off_target = None if held == 0 or part.is_empty(study.pool, 0, held) else part("off-target", study.pool, 0, held)
    targets = {name: part(f"target-{name}", table, table.holdout, 1) for name, table in study.target.items()}
    heldout = {name: part(f"heldout-{name}", table, 0, table.holdout) for name, table in study.target.items()}
    return Prepared(pool, targets, heldout, off_target, part.overlap)


def cut_lines(prepared: Prepared) -> dict[str, str]:
    """What `thresher prepare` says of rows that were cut, by the name of every target's part that has some."""
    parts = {f"target {name}": examples for name, examples in prepared.targets.items()}
    parts |= {f"held-out {name}": examples for name, examples in prepared.heldout.items()}
    lines = {
        name: cut_line(examples.artifact.facts, examples.artifact.meta["config"]["sequence_length"])
        for name, examples in parts.items()
        if "cut" in examples.artifact.facts
    }
    return {name: line for name, line in lines.items() if line is not None}


def source_of(table: PoolTable | TargetTable) -> Source:
    """The source that a table of a study names."""
    named = getattr(table, "task", None) or table.data
    data = (named,) if isinstance(named, str) else tuple(named)
    return Source(data, table.split, table.subset, table.bad_rows)


def ids_of(table: PoolTable | TargetTable) -> str | tuple[str, ...] | None:
    """The column or columns that make the ids; None: rows are numbered, or files go by their path."""
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
    ).of_source(source_of(table))


class _TextParts:
    """Prepares parts of text sources with the study's one tokenizer."""

    def __init__(self, study: Study, workspace: Workspace) -> None:
        self.study, self.workspace = study, workspace
        self.columns = {name: columns_of(table) for name, table in study.target.items()}
        self.tokenizer = study.tokenizer or str(self._learn_tokenizer().path)
        self.tokenizer_hash = open_tokenizer(self.tokenizer).hash
        self.overlap = self._find_overlap()

    def __call__(self, name: str, table: PoolTable | TargetTable, low: float | int, high: float | int) -> Examples:
        """The examples of `name` ("pool", "target-NAME"): those of a table's source that fall into [low, high)."""
        part = self._part(table, low, high, self.overlap if name == "pool" and self.study.pool.decontaminate else None)
        options = {"sequence_length": self.study.sequence_length, "limit": getattr(table, "limit", None)}
        place = (part.config, part.inputs, options, self.study.seed, self.tokenizer_hash)
        out, progress = self.workspace.place(f"data/{name}", *place), self.workspace.progress
        artifact = prepare_documents(part, tokenizer=self.tokenizer, out=out, progress=progress, **options)
        if is_most(artifact.facts):
            LOGGER.warning(f"{name}: {cut_line(artifact.facts, self.study.sequence_length)}")
        return open_examples(artifact.path)

    def is_empty(self, table: PoolTable, low: float | int, high: float | int) -> bool:
        return self._part(table, low, high).is_empty

    def _part(
        self, table: PoolTable | TargetTable, low: float | int, high: float | int, overlap: Artifact | None = None
    ) -> TextPart:
        columns = columns_of(table) if isinstance(table, PoolTable) else self._columns_of_target(table)
        part, seed = (low, high), self.study.seed
        return TextPart(source=source_of(table), columns=columns, part=part, seed=seed, overlap=overlap)

    def _columns_of_target(self, table: TargetTable) -> TextColumns:
        """Those found at the start, since finding classes takes a pass over the source."""
        return next(self.columns[name] for name, own in self.study.target.items() if own is table)

    def _learn_tokenizer(self) -> Artifact:
        pool, seed, vocab_size = self.study.pool, self.study.seed, self.study.vocab_size
        columns = TextColumns(text=pool.text, group=pool.group)
        part = TextPart(source=source_of(pool), columns=columns, part=(0.0, pool.share), seed=seed)
        place = (part.config, part.inputs, seed, vocab_size)
        return learn_tokenizer(part, vocab_size=vocab_size, out=self.workspace.place("tokenizer", *place))

    def _find_overlap(self) -> Artifact:
        study = self.study
        pool = self._part(study.pool, study.pool.holdout * study.pool.share, study.pool.share)
        targets = {name: self._part(table, 0, 1) for name, table in study.target.items()}
        parts = {".pool": pool, **targets}
        config = {"parts": {name: part.config for name, part in parts.items()}, "seed": study.seed}
        inputs = {name: part.inputs["source"] for name, part in parts.items()}
        return find_overlap(
            pool.documents,
            {name: part.documents for name, part in targets.items()},
            out=self.workspace.place("overlap", config, inputs, study.pool.ngram),
            ngram=study.pool.ngram,
            config=config,
            inputs=inputs,
            progress=self.workspace.progress,
        )


class _PictureParts:
    """Prepares parts of image sources with the classes of the pool."""

    overlap = None

    def __init__(self, study: Study, workspace: Workspace) -> None:
        self.study, self.workspace = study, workspace
        self.classes = classes_of(source_of(study.pool), label=study.pool.label)

    def __call__(self, name: str, table: PoolTable | TargetTable, low: float | int, high: float | int) -> Examples:
        """The examples of `name` ("pool", "target-NAME"): those of a table's source that fall into [low, high)."""
        part = self._part(table, low, high)
        out = self.workspace.place(f"data/{name}", part.config, part.inputs, self.classes, self.study.seed)
        artifact = prepare_pictures(part, classes=self.classes, out=out, progress=self.workspace.progress)
        return open_examples(artifact.path)

    def is_empty(self, table: PoolTable, low: float | int, high: float | int) -> bool:
        return self._part(table, low, high).is_empty

    def _part(self, table: PoolTable | TargetTable, low: float | int, high: float | int) -> PicturePart:
        return PicturePart(
            source=source_of(table),
            image=table.image,
            label=table.label,
            id=ids_of(table),
            group=table.group,
            size=self.study.pool.size,
            part=(low, high),
            seed=self.study.seed,
            limit=getattr(table, "limit", None),
        )
