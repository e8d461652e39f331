"""`thresher search`: the training examples behind one target example."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.cli.command import Command
from thresher.errors import InputError
from thresher.progress import Progress
from thresher.shown import shown

ROW = re.compile(r"[0-9]{1,18}")
"""A row as it is written; what is longer is none."""


@dataclass(frozen=True, kw_only=True)
class Search(Command):
    """The training examples most helpful and most harmful to one target example, from a FAISS index."""

    usage = "thresher search --index index --target target-features --example 0 --pool pool"

    index: Path
    """An index, from `thresher index`."""
    target: Path
    """The features of the target, from `thresher featurize` with the same models, projection and seed."""
    example: str
    """The target example: its id, or its row."""
    top: int = 10
    """How many of each."""
    pool: Path | None = None
    """The prepared pool: its texts are shown too."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Find the neighbours of one target example."""
        from thresher.api.handles import FeatureStore, Index
        from thresher.api.searching import search

        index, target = Index.of(self.index), FeatureStore.of(self.target)  # each opened, and so checked, once
        if not 1 <= self.top <= len(index):
            raise InputError(f"--top {self.top} is out of range; pass 1 to {len(index)}, the size of the pool")
        is_row = self.example not in target.load().ids and ROW.fullmatch(self.example)
        example = int(self.example) if is_row else self.example
        neighbours = search(index, target, example, k=self.top, pool=self.pool)
        return {"example": self.example, **neighbours._asdict()}

    def show(self, result: Mapping[str, Any]) -> str:
        """A line a neighbour."""
        lines = []
        for name in ("helpful", "harmful"):
            lines.append(f"most {name} to {result['example']}")
            for hit in result[name]:
                preview = " ".join(hit.get("preview", "").split())[:100]
                lines.append(f"  {hit['score']:+.4g}\t{shown(hit['id'])}\t{preview}".rstrip())
        return "\n".join(lines)


COMMAND = Search
