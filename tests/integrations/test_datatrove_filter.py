"""A pipeline of datatrove that keeps a selection's documents, and writes down why it left out the others."""

import gzip
import json

import pytest

import thresher
from thresher.errors import InputError
from thresher.integrations import selection_filter

pytestmark = pytest.mark.integration


@pytest.fixture
def steps(corpus, tmp_path):
    pytest.importorskip("datatrove")
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    pool = thresher.prepare(corpus, out=tmp_path / "pool", id="id", domain="source", vocab_size=300)
    selection = thresher.select(pool=pool, method="exact | random:count=7", out=tmp_path / "selection", seed=3)

    def steps(id_key="id"):
        excluded = JsonlWriter(str(tmp_path / "excluded"))
        keep = selection_filter(selection, exclusion_writer=excluded)
        read = JsonlReader(str(corpus.parent), glob_pattern=corpus.name, id_key=id_key)
        return [read, keep, JsonlWriter(str(tmp_path / "kept"))]

    return steps, selection


def rows(folder):
    return [json.loads(line) for file in folder.glob("*.gz") for line in gzip.open(file, "rt", encoding="utf-8")]


def test_the_pipeline_writes_the_kept_documents_in_their_order_and_the_others_apart(steps, corpus, tmp_path):
    from datatrove.executor import LocalPipelineExecutor

    make, selection = steps
    LocalPipelineExecutor(make(), tasks=1, logging_dir=str(tmp_path / "logs")).run()
    source = [json.loads(line) for line in corpus.read_text().splitlines()]
    kept = [row for row in source if row["id"] in set(selection.ids)]
    assert [(row["id"], row["text"]) for row in rows(tmp_path / "kept")] == [(row["id"], row["text"]) for row in kept]
    assert len(rows(tmp_path / "excluded")) == len(source) - 7
    (stats,) = [step for step in json.loads((tmp_path / "logs" / "stats.json").read_text()) if "FILTER" in step["name"]]
    assert stats["stats"]["dropped_random: beyond the budget"] == len(source) - 7


def test_a_document_that_the_pool_has_not_ends_the_pipeline(steps):
    make, _ = steps
    read, keep, _ = make(id_key="no such column")
    with pytest.raises(InputError, match="is in no way part of the pool"):
        list(keep.run(read.run()))
