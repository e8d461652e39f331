"""Scores as a Parquet file that `embedding-atlas` opens: a place on a map, the score and the nearest neighbours."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from thresher.api.checkpoint import names_of
from thresher.api.handle import Source
from thresher.api.handles import Examples, Scores
from thresher.artifacts import atomic_file
from thresher.data.examples import TokenExamples
from thresher.errors import InputError, unknown
from thresher.seeds import derive
from thresher.studies.selections.evidence import evidence_of
from thresher.studies.selections.sources import Sources
from thresher.vectors import directions
from thresher.workspace import Workspace, evidence_folder

LAYOUTS = ("pca", "tsne", "umap")


def write_atlas(
    scores: Source,
    pool: Source,
    *,
    out: str | Path,
    models: Any = (),
    embeddings: str | None = None,
    layout: str = "pca",
    neighbours: int = 15,
    evidence: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Write a Parquet file with a row an example of the pool, in its order; its path.

    Columns: `id`, `domain`, `text` (as it was written; of pictures what a person reads), a score a target
    (`score NAME`; `score` where there is one), `length`, `x` and `y`, and `neighbors` ({"ids", "distances"}: rows, by
    1 - cosine), which is how `embedding-atlas FILE --text text --x x --y y --neighbors neighbors` takes them.

    embeddings  "column:NAME" or "sentence-transformers:MODEL", in place of those of the `models`
    layout      pca, tsne or umap (which has to be installed), of the embeddings around their mean, each of length 1
    evidence    a folder for embeddings that had to be made; None: beside `out`

    Raises InputError for scores of another pool, fewer examples than neighbours, and embeddings that cannot be made.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    examples, table = Examples.of(pool).load(), Scores.of(scores).table()
    if not 1 <= neighbours < len(examples):
        raise InputError(f"{neighbours} neighbours in a pool of {len(examples)}; give 1 or more, and fewer than it has")
    workspace = Workspace(evidence_folder(out, evidence), device)
    given = {"models": names_of(models), "embeddings": embeddings, "scores": Scores.of(scores).artifact}
    sources = Sources(workspace=workspace, pool=examples, seed=seed, **given)
    found = evidence_of(sources, seed)["embeddings"]
    vectors = directions(found, np.mean(found, axis=0))
    places = _places(vectors, layout, derive(seed, "atlas"))
    targets = [name for name in table.columns if name not in ("id", "domain")]
    rows = np.arange(len(examples))
    is_text = isinstance(examples, TokenExamples)
    columns = {
        "id": list(examples.ids),
        "domain": [str(domain) for domain in examples.domains],
        "text": examples.texts(rows) if is_text else [examples.preview(row) for row in rows.tolist()],
        **{"score" if len(targets) == 1 else f"score {name}": table[name].to_numpy() for name in targets},
        "length": examples.lengths(),
        "x": places[:, 0],
        "y": places[:, 1],
        "neighbors": _neighbours(vectors, neighbours),
    }
    with atomic_file(Path(out)) as file:
        pq.write_table(pa.table(columns), file)
    return Path(out)


def _places(vectors: Float[np.ndarray, "n d"], layout: str, seed: int) -> Float[np.ndarray, "n 2"]:
    """Where each example lies on the map."""
    state = seed % 2**31
    if layout == "umap":
        try:
            umap = importlib.import_module("umap")
        except ImportError:
            raise InputError(
                "layout umap needs umap-learn; pip install 'thresher[integrations]', or pass tsne"
            ) from None
        return umap.UMAP(random_state=state, metric="cosine", n_jobs=1).fit_transform(vectors)
    if layout == "tsne":
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        return TSNE(init="pca", random_state=state, perplexity=perplexity).fit_transform(vectors)
    return PCA(2, random_state=state).fit_transform(vectors)


def _neighbours(vectors: Float[np.ndarray, "n d"], count: int) -> pa.Array:
    """The `count` nearest other rows of each, nearest first, as rows and distances 1 - cosine."""
    tree = NearestNeighbors(n_neighbors=count).fit(vectors)
    euclidean, ids = tree.kneighbors()  # of each row without itself
    # Of unit vectors half the squared distance is 1 - cosine.
    lists = [
        pa.array(ids.tolist(), pa.list_(pa.int64())),
        pa.array((euclidean**2 / 2).tolist(), pa.list_(pa.float32())),
    ]
    return pa.StructArray.from_arrays(lists, ["ids", "distances"])
