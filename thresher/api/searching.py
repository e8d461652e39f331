"""Verbs of search: an index over a pool's features, and the examples nearest to a target example."""

from pathlib import Path

from thresher.api.handle import Source
from thresher.api.handles import Examples, FeatureStore, Index, Neighbours
from thresher.api.positions import whole
from thresher.attribution.scoring import index as index_module
from thresher.attribution.scoring.kernel import Damping
from thresher.data.examples import as_scored
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.rules import ruled
from thresher.scores import check_same_rows


@ruled
def build_index(
    features: Source,
    *,
    out: str | Path,
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
    kind: str = "auto",
    progress: Progress = SILENT,
) -> Index:
    """A FAISS index over a pool's features, whose inner products are TRAK scores; its recall is measured.

    `kind` is flat (exact), ivf, or auto: flat up to 100,000 examples. Raises InputError where FAISS is not installed.
    """
    options = {"damping": damping, "q": q, "convention": convention, "kind": kind, "progress": progress}
    return Index(index_module.build_index(FeatureStore.of(features).load(), out=Path(out), **options))


@ruled
def search(index: Source, target: Source, example: int | str, *, k: int = 10, pool: Source | None = None) -> Neighbours:
    """The `k` training examples most helpful and most harmful to one target example, given by position or id.

    `target` is its features, by the same models, projection and seed as the pool's; with `pool`, the prepared pool that
    was indexed, each hit has a `preview`. Raises InputError for an example that is not there and another pool.
    """
    store, built = FeatureStore.of(target).load(), index_module.Index(Index.of(index).artifact)
    place = example if isinstance(example, str) else whole(example, "example", "pass a position or an id")
    found = index_module.search(built, store, place, k=whole(k, "k", "pass a number of neighbours"))
    sides = [[{"id": id, "score": float(score)} for id, score in side] for side in found]
    if pool is not None:
        examples = as_scored(Examples.of(pool).load(), built.ids)
        names = f"the index {built.artifact.path}", str(examples.artifact.path)
        check_same_rows(names[0], built.artifact.facts.get("numbered_by"), names[1], examples.numbered_by)
        row_of = {id: row for row, id in enumerate(examples.ids)}
        for hit in (*sides[0], *sides[1]):
            if hit["id"] not in row_of:
                path = examples.artifact.path
                raise InputError(f"{path} has no example {hit['id']!r}; give the pool that was indexed")
            hit["preview"] = examples.preview(row_of[str(hit["id"])])
    return Neighbours(*sides)
