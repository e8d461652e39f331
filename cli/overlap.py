"""`thresher overlap`: leakage between a pool and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from thresher.choices import BadRows
from thresher.cli.arguments import flag_of
from thresher.cli.command import Command, made, named_paths
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Overlap(Command):
    """Report which documents of a pool share a run of words with which target examples (leakage), as GPT-3 was checked.

    `thresher prepare --decontaminate` does the same and leaves those documents out.
    """

    usage = "thresher overlap --data 'corpus/*.jsonl' --targets squad=squad.jsonl --out overlap"

    sources = ("data", "targets")

    data: tuple[str, ...]
    """The pool: files, globs, a folder, or the name of a data set on the hub."""
    targets: tuple[str, ...]
    """NAME=DATA of each target, a file or the name of a data set on the hub; all its columns of text are looked at."""
    out: Path
    """Where the overlap artefact goes."""
    split: str | None = None
    subset: Annotated[str | None, tyro.conf.arg(aliases=["--config"])] = None
    text: str = "text"
    id: tuple[str, ...] = ()
    """A column of unique ids, or several that together are unique; none: rows are numbered."""
    bad_rows: BadRows = "refuse"
    ngram: int = 13
    """Words in a row, in lower case and without punctuation."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Find the overlap."""
        from thresher.data.preparing import overlap_between
        from thresher.data.sources.source import Source
        from thresher.data.text.columns import TextColumns

        source = Source(self.data, self.split, self.subset, self.bad_rows)
        columns = TextColumns(text=self.text, id=self.id or None)
        targets = named_paths(self.targets, "--targets")
        return made(overlap_between(source, columns, targets, ngram=self.ngram, out=self.out, progress=progress))

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The command that comes next."""
        from thresher.cli.following import beside
        from thresher.cli.prepare import Prepare

        if not result["documents_hit"]:
            return None
        own = {field.name for field in fields(Command)} | {"data", "out"}
        shared = [field.name for field in fields(Prepare) if field.name not in own and hasattr(self, field.name)]
        words: list[object] = ["thresher", "prepare", "--data", *self.data]
        for name, value in self.given(*shared).items():
            words += [flag_of(name), *(value if isinstance(value, tuple) else (value,))]
        return [*words, "--decontaminate", *self.targets, "--out", beside(self.out, "clean-pool")]

    def show(self, result: Mapping[str, Any]) -> str:
        """The result as lines: how many documents, then each target with its first hits."""
        lines = [f"path: {result['path']}", f"documents: {result['documents_hit']} of {result['documents']} overlap"]
        for name, target in result["targets"].items():
            lines.append(
                f"{name}: {target['examples_hit']} of {target['examples']} examples in {target['documents_hit']} "
                f"documents ({target['too_short']} examples too short to tell)"
            )
            lines += [f"  {hit['document']} ~ {hit['example']}: {hit['words']}" for hit in target["hits"]]
        return "\n".join(lines)


COMMAND = Overlap
