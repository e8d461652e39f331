"""`thresher search`: the training examples behind one target example."""

from dataclasses import dataclass
from pathlib import Path

from thresher.cli.command import Command


@dataclass(frozen=True, kw_only=True)
class Search(Command):
    """The training examples most helpful and most harmful to one target example, from a FAISS index."""

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

    def run(self, progress):
        from thresher.attribution.features.store import open_features
        from thresher.attribution.scoring.index import search
        from thresher.data.examples import open_examples
        from thresher.errors import InputError

        store = open_features(self.target)
        example = int(self.example) if self.example not in store.ids and self.example.isdigit() else self.example
        found = search(self.index, store, example, k=self.top)
        lists = {
            name: [{"id": id, "score": float(score)} for id, score in getattr(found, name)]
            for name in ("helpful", "harmful")
        }
        if self.pool is not None:
            pool = open_examples(self.pool)
            row_of = {id: row for row, id in enumerate(pool.ids)}
            for hit in (*lists["helpful"], *lists["harmful"]):
                if hit["id"] not in row_of:
                    raise InputError(f"{self.pool} has no example {hit['id']!r}; give the pool that was indexed")
                hit["preview"] = pool.preview(row_of[hit["id"]])
        return {"example": self.example, **lists}

    def show(self, result):
        lines = []
        for name in ("helpful", "harmful"):
            lines.append(f"most {name} to {result['example']}")
            for hit in result[name]:
                preview = " ".join(hit.get("preview", "").split())[:100]
                lines.append(f"  {hit['score']:+.4g}\t{hit['id']}\t{preview}".rstrip())
        return "\n".join(lines)


COMMAND = Search
