"""`thresher overlap`: leakage between a pool and targets."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from thresher.cli.command import Command, made


@dataclass(frozen=True, kw_only=True)
class Overlap(Command):
    """Report which documents of a pool share a run of words with which target examples (leakage), as GPT-3 was checked.

    `thresher prepare --decontaminate` does the same and leaves those documents out.
    """

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
    bad_rows: str = "refuse"
    ngram: int = 13
    """Words in a row, in lower case and without punctuation."""

    def run(self, progress):
        from thresher.data.sources.source import Source
        from thresher.data.text.documents import TextColumns

        source = Source(self.data, self.split, self.subset, self.bad_rows)
        columns = TextColumns(text=self.text, id=self.id or None)
        return made(find(source, columns, self.targets, out=self.out, ngram=self.ngram, progress=progress))

    def show(self, result):
        lines = [f"path: {result['path']}", f"documents: {result['documents_hit']} of {result['documents']} overlap"]
        for name, found in result["targets"].items():
            lines.append(
                f"{name}: {found['examples_hit']} of {found['examples']} examples in {found['documents_hit']} documents"
                f" ({found['too_short']} examples too short to tell)"
            )
            lines += [f"  {hit['document']} ~ {hit['example']}: {hit['words']}" for hit in found["hits"]]
        return "\n".join(lines)


def find(source, columns, targets, *, out, ngram, progress):
    """The overlap artefact of a source's documents with targets given as NAME=DATA."""
    from thresher.cli.command import named_paths
    from thresher.data.sources.named_splits import ALL
    from thresher.data.sources.source import Source
    from thresher.data.text.documents import read_documents, read_whole_rows
    from thresher.data.text.overlap import find_overlap

    # A document may not hold what any split of a target holds.
    named = {name: Source((str(path),), split=ALL) for name, path in named_paths(targets, "--targets").items()}
    return find_overlap(
        lambda: read_documents(source, columns),
        {name: lambda target=target: read_whole_rows(target) for name, target in named.items()},
        out=out,
        ngram=ngram,
        config={"columns": asdict(columns)},
        inputs={"source": source.fingerprint(), **{f"target {name}": one.fingerprint() for name, one in named.items()}},
        progress=progress,
    )


COMMAND = Overlap
