"""The file for embedding-atlas: its neighbours are the nearest, and its own code takes them."""

import json

import numpy as np
import pandas as pd
import pytest

import thresher
from thresher.errors import InputError
from thresher.integrations import write_atlas


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A pool whose rows carry vectors, and scores of it."""
    folder = tmp_path_factory.mktemp("atlas")
    vectors = np.random.default_rng(0).normal(size=(24, 5)).round(3)
    rows = [{"id": f"r{n}", "text": f"text {n}\nin two lines", "of": "ab"[n % 2], "vector": vector.tolist()}
            for n, vector in enumerate(vectors)]  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = thresher.prepare(folder / "rows.jsonl", out=folder / "pool", id="id", domain="of", vocab_size=300)
    model = thresher.train("20k", pool, out=folder / "model", device="cpu")
    scores = thresher.self_influence(pool, models=model, k=32, out=folder / "scores", device="cpu")
    return rows, pool, scores


@pytest.mark.parametrize("layout", ["pca", "tsne"])
def test_a_row_has_its_text_score_and_place_and_its_nearest_others(scored, tmp_path, layout):
    rows, pool, scores = scored
    file = write_atlas(
        scores, pool, out=tmp_path / "map.parquet", embeddings="column:vector", layout=layout, neighbours=4
    )
    table = pd.read_parquet(file)
    assert list(table["id"]) == [row["id"] for row in rows] and list(table["text"]) == [row["text"] for row in rows]
    assert list(table["domain"]) == [row["of"] for row in rows]
    assert list(table["score"]) == list(scores.column())
    vectors = np.array([row["vector"] for row in rows])
    unit = vectors - vectors.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distances = 1 - unit @ unit.T
    np.fill_diagonal(distances, np.inf)
    for row, near in enumerate(table["neighbors"]):
        assert list(near["ids"]) == np.argsort(distances[row])[:4].tolist()
        np.testing.assert_allclose(near["distances"], np.sort(distances[row])[:4], atol=1e-5)
    assert np.isfinite(table[["x", "y"]].to_numpy()).all() and table["x"].nunique() == len(rows)


def test_what_cannot_be_is_refused(scored, tmp_path):
    _, pool, scores = scored
    for given, said in (
        ({"neighbours": 24, "embeddings": "column:vector"}, "24 neighbours in a pool of 24"),
        ({"layout": "map", "embeddings": "column:vector"}, "layout 'map' is unknown"),
        ({}, "needs embeddings of the pool; pass --pool and --models, or --embeddings"),
    ):
        with pytest.raises(InputError, match=said):
            write_atlas(scores, pool, out=tmp_path / "map.parquet", **given)
    assert not (tmp_path / "map.parquet").exists()


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::ImportWarning", "ignore::UserWarning")
def test_embedding_atlas_ranks_by_the_neighbours_and_umap_lays_out(scored, tmp_path):
    metrics = pytest.importorskip("embedding_atlas.graph_metrics")
    _, pool, scores = scored
    file = write_atlas(scores, pool, out=tmp_path / "map.parquet", embeddings="column:vector", layout="umap")
    table = pd.read_parquet(file)
    ranks = metrics.compute_pagerank_column(table, neighbors="neighbors")
    assert len(ranks) == 24 and np.isfinite(ranks).all() and np.ptp(ranks) > 0
    assert np.isfinite(table[["x", "y"]].to_numpy()).all()
