"""Searching an index against brute force over all pairs."""

import importlib.util

import numpy as np
import pytest

from tests.attribution.cases import dense_scores, synthetic_store
from thresher.attribution.scoring.index import Index, build_index, search
from thresher.errors import InputError

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is not installed")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    pool = synthetic_store(folder / "pool", n=700, k=13, num_checkpoints=2, shard_size=256)
    target = synthetic_store(folder / "target", n=9, k=13, num_checkpoints=2, seed=5, prefix="t")
    return pool, target


@needs_faiss
@pytest.mark.parametrize("q", ["sqrt", "mean", "none"])
def test_a_flat_index_finds_what_brute_force_finds(tmp_path, stores, q):
    pool, target = stores
    artifact = build_index(pool, out=tmp_path / "index", damping=0.5, q=q)
    scores = dense_scores(pool, target, 0.5, q)
    index = Index(artifact.path)
    for example in range(9):
        order = np.argsort(-scores[:, example])
        found = search(index, target, example, k=7)
        assert [id for id, _ in found.helpful] == [f"z{i}" for i in order[:7]]
        assert [id for id, _ in found.harmful] == [f"z{i}" for i in order[::-1][:7]]
        np.testing.assert_allclose([s for _, s in found.helpful], scores[order[:7], example], rtol=1e-4)
        np.testing.assert_allclose([s for _, s in found.harmful], scores[order[::-1][:7], example], rtol=1e-4)
    assert artifact.facts["recall_at_10"] == 1.0 and artifact.facts["index_kind"] == "flat"


@needs_faiss
def test_an_ivf_index_reaches_the_recall_it_records(tmp_path, stores):
    pool, target = stores
    artifact = build_index(pool, out=tmp_path / "index", damping=0.5, kind="ivf")
    assert artifact.facts["recall_at_10"] >= 0.95
    assert 1 <= artifact.facts["num_probed"] <= artifact.facts["num_cells"]
    scores, hits = dense_scores(pool, target, 0.5), 0
    for example in range(9):
        exact = {f"z{i}" for i in np.argsort(-scores[:, example])[:10]}
        hits += len(exact & {id for id, _ in search(artifact, target, example).helpful})
    assert hits / 90 > 0.75


@needs_faiss
def test_an_example_is_found_by_id_as_by_position(tmp_path, stores):
    pool, target = stores
    path = build_index(pool, out=tmp_path / "index", damping=0.5).path
    assert search(path, target, "t4", k=3) == search(path, target, 4, k=3)


@needs_faiss
@pytest.mark.parametrize("example, k", [("t99", 3), (9, 3), (-1, 3), (0, 0), (0, 701)])
def test_an_unknown_example_or_impossible_number_is_refused(tmp_path, stores, example, k):
    pool, target = stores
    path = build_index(pool, out=tmp_path / "index", damping=0.5).path
    with pytest.raises(InputError, match=r"has no example|out of range|neighbours were asked for"):
        search(path, target, example, k=k)


@needs_faiss
def test_a_target_of_other_models_is_refused_with_both_values(tmp_path, stores):
    other = synthetic_store(tmp_path / "other", n=4, k=13, num_checkpoints=2, models="n")
    path = build_index(stores[0], out=tmp_path / "index", damping=0.5).path
    with pytest.raises(InputError, match=r"model 0 = 'n0', the pool with 'm0'"):
        search(path, other, 0)


def test_without_faiss_the_message_says_what_to_install(tmp_path, stores, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("thresher.vectors.importlib.import_module", missing)
    with pytest.raises(InputError, match=r"pip install 'thresher\[cpu\]'") as error:
        build_index(stores[0], out=tmp_path / "index")
    assert "\n" not in str(error.value) and not (tmp_path / "index").exists()
