"""Scores and selections on disk."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.artifacts import build
from thresher.errors import InputError
from thresher.scores import open_scores
from thresher.selection.choosing import select
from thresher.selection.selection import domain_shares, open_selection, write_selection

NUM_POOL = 23
DOMAINS = ["law" if i % 3 else "python" for i in range(NUM_POOL)]
IDS = [f"doc-{i:03d}" for i in range(NUM_POOL)]


@pytest.fixture
def scores_path(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"id": IDS, "domain": DOMAINS}
    columns |= {target: rng.normal(size=NUM_POOL).astype(np.float32) for target in ("squad", "gsm8k")}

    def write(draft):
        with draft.file("scores.parquet") as file:
            pq.write_table(pa.table(columns), file)

    return build(tmp_path / "scores", kind="scores", config={}, seed=0, inputs={}, write=write).path


@pytest.fixture
def make(scores_path, tmp_path):
    def make(method="dsdm", fraction=0.3, seed=0):
        scores = open_scores(scores_path)
        selected = select(method, scores, fraction=fraction, seed=seed)
        config, inputs = {"fraction": fraction}, {"scores": "abc"}
        options = {"out": tmp_path / "subset", "method": method, "config": config, "seed": seed, "inputs": inputs}
        return selected, write_selection(selected, scores.ids, scores.domains, **options)

    return make


def test_scores_come_back_as_written(scores_path):
    scores = open_scores(scores_path)
    table = pq.read_table(scores_path / "scores.parquet")
    assert list(scores.ids) == IDS and list(scores.domains) == DOMAINS
    assert list(scores.by_target) == ["squad", "gsm8k"]
    for target, values in scores.by_target.items():
        np.testing.assert_array_equal(values, table[target].to_numpy())


def test_an_artefact_of_another_kind_is_not_read_as_scores(make):
    _, artifact = make()
    with pytest.raises(InputError, match="holds 'selection', but 'scores' is needed"):
        open_scores(artifact.path)


@pytest.mark.parametrize("method", ["dsdm", "random", "bottom"])
def test_kept_and_dropped_are_the_whole_pool_with_its_scores_and_ranks(make, method):
    selected, artifact = make(method)
    selection = open_selection(artifact.path)
    assert (selection.kept.num_rows, selection.dropped.num_rows) == (7, 16)
    rows = pa.concat_tables([selection.kept, selection.dropped]).to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, NUM_POOL + 1))
    assert sorted(row["position"] for row in rows) == list(range(NUM_POOL))
    for row in rows:
        position = row["position"]
        assert (row["id"], row["domain"]) == (IDS[position], DOMAINS[position])
        score = selected.scores[position]
        assert row["score"] == (None if np.isnan(score) else score)


def test_datasets_reads_a_selection_and_its_positions_select_from_the_pool(make, tmp_path):
    selected, artifact = make()
    files = {name: str(artifact.file(f"{name}.parquet")) for name in ("kept", "dropped")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert loaded["kept"].column_names == ["id", "position", "domain", "score", "rank", "reason"]
    pool = datasets.Dataset.from_dict({"id": IDS})
    assert list(pool.select(loaded["kept"]["position"])["id"]) == list(loaded["kept"]["id"])
    positions = open_selection(artifact.path).positions
    np.testing.assert_array_equal(positions, selected.kept)
    assert list(pool.select(positions)["id"]) == list(loaded["kept"]["id"])


def test_facts_count_what_was_kept_and_the_domains_before_and_after(make):
    selected, artifact = make()
    kept = [DOMAINS[position] for position in selected.kept]
    assert (artifact.facts["num_kept"], artifact.facts["num_dropped"]) == (7, 16)
    assert artifact.facts["domain_shares"] == {
        "law": {"before": 15 / 23, "after": kept.count("law") / 7},
        "python": {"before": 8 / 23, "after": kept.count("python") / 7},
    }


def test_a_domain_that_is_dropped_whole_is_still_told():
    shares = domain_shares(["a", "b", "b", "", "b"], np.array([1, 2]))
    assert shares["a"] == {"before": 0.2, "after": 0.0}
    assert shares[""] == {"before": 0.2, "after": 0.0}
    assert shares["b"] == {"before": 0.6, "after": 1.0}


def test_the_same_request_writes_the_same_bytes_and_is_not_made_twice(make, tmp_path):
    _, first = make()
    _, again = make()
    assert first.built and not again.built
    first.path.rename(tmp_path / "elsewhere")
    _, anew = make()
    assert anew.built and anew.content_hash == first.content_hash


def test_another_request_does_not_overwrite_a_selection(make):
    _, artifact = make()
    before = artifact.file("kept.parquet").read_bytes()
    with pytest.raises(InputError, match=r"config.fraction = 0.3, this run has 0.5"):
        make(fraction=0.5)
    with pytest.raises(InputError, match=r"config.method"):
        make(method="bottom")
    assert artifact.file("kept.parquet").read_bytes() == before
